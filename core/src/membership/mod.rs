//! Who belongs to the cluster, and how to reach them.

pub mod detector;
pub mod member;
pub mod operation;
pub mod topology;

#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod topology_tests;
