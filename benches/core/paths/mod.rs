//! The hot paths of `ringmain-core`, each as a step that can be taken any number of times.
//!
//! *Problem.* Two binaries measure them: `core` how long they take, `counts` how many instructions.
//! *Answer.* A function here makes what the path works on, and returns a closure that goes through
//! it once; what the optimizer must not know passes through `black_box`. Inputs are the same in
//! every run, and no step allocates once it was taken a few times. (What a path works on is leaked:
//! it lives as long as the process.)

pub(crate) mod causality;
pub(crate) mod cluster;
pub(crate) mod merkle;
pub(crate) mod quorum;
pub(crate) mod ring;
pub(crate) mod store;
pub(crate) mod wire;
