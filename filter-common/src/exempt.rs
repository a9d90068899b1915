//! Never-filtered traffic.
