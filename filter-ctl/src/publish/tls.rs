//! TLS by rustls with ring: no C library of the target machine is needed.

/// Makes ring the cryptography of every TLS connection of this process that asks for the default.
pub(super) fn use_ring() {
    // An error says that a default is set already; only this function sets one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
