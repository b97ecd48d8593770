//! Who belongs to the cluster, and how to reach them.

pub mod member;

#[cfg(test)]
mod member_tests;
