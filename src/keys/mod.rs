//! What a key is: its form, its file entry come to life, and how one is found.

pub mod format;
