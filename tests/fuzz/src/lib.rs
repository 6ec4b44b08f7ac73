//! The checks of `tests/properties`, for the fuzz targets.

#[path = "../../properties/main.rs"]
mod properties;

/// Bytes of a peer, to the codecs.
pub fn codec(data: &[u8]) {
    properties::codec::check(data);
}

/// Any inputs in any order, to one election.
pub fn election(data: &[u8]) {
    properties::election::check(data);
}

/// Any bytes in the place of a vote file.
pub fn store(data: &[u8]) {
    properties::store::check(data);
}

/// Any inputs in any order, also of peers that lie, to two nodes with a log.
pub fn log(data: &[u8]) {
    properties::log::check(data);
}

/// Bytes of a peer with a log, and records of entries.
pub fn log_wire(data: &[u8]) {
    properties::log::wire::check(data);
}
