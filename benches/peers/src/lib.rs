//! streamraft and its peers on the same work: what `benches/peers/run` prints, and what `benches/peers/counts` guards.

pub mod callgrind;
pub mod election;
pub mod log;
pub mod streams;

#[cfg(feature = "peers")]
pub mod codec;
#[cfg(feature = "peers")]
pub mod groups;
#[cfg(feature = "peers")]
pub mod growth;
#[cfg(feature = "peers")]
pub mod instructions;
#[cfg(feature = "peers")]
pub mod leadership;
#[cfg(feature = "peers")]
pub mod live;
#[cfg(feature = "peers")]
pub mod report;
#[cfg(feature = "peers")]
pub mod tokioraft;
