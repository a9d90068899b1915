//! Explanations against the rules, and against what people read.
