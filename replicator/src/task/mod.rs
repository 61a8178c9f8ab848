//! Background actions, one file each.
//!
//! Loops that run as long as the node: [`gossip`], [`wake`], [`scan`], [`timer`],
//! [`compare`], [`idle`]. Actions with an end: [`invite`], [`join`], [`reseed`],
//! [`snapshot`], [`create`], [`members`], [`verify`], [`checkpoint`], [`collect`], [`define`]. None of them decides
//! what to replicate.

pub(crate) mod checkpoint;
pub(crate) mod collect;
pub(crate) mod compare;
pub(crate) mod create;
pub(crate) mod define;
pub(crate) mod gossip;
pub(crate) mod idle;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod members;
pub(crate) mod reseed;
pub(crate) mod scan;
pub(crate) mod snapshot;
pub(crate) mod timer;
pub(crate) mod verify;
pub(crate) mod wake;
