//! Keyward: an API-key gateway.

pub mod vocab;

pub mod config;

pub mod request;

pub mod route;

pub mod credential;

pub mod keys;

pub mod limits;

pub mod timer;

pub mod snapshot;

pub mod upstream;

pub mod record;

pub mod observe;

pub mod gate;

pub mod edge;

pub mod reload;

pub mod app;

pub mod cli;

pub mod commands;
