//! Reading a packet.
