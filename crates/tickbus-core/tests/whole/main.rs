//! A journal is one thing to its readers, whatever form its parts have: nothing missing, nothing twice,
//! while segments are sealed, packed and removed, and after those were killed at any step.

#![cfg(not(loom))]

mod kept;
mod racing;
mod removing;
mod sealing;
#[path = "../segments/mod.rs"]
mod segments;
