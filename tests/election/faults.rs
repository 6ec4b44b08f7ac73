//! The thirteen faults of older election crates, each as what must hold. (Those of changing the membership stand with
//! the membership's tests.)

mod inputs;
mod leaders;
mod liveness;
