//! One module per command. A command gets its streams and its clock from outside and gives its exit code back.

pub mod check;
pub mod console;
pub mod demo;
pub mod explain;
pub mod health;
pub mod init;
pub mod key;
pub mod run;
mod state_file;
mod table;
pub mod usage;
pub mod version;
