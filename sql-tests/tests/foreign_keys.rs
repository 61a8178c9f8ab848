//! Tables that refer to each other, written at random on three replicas: all end equal, and no
//! FOREIGN KEY is ever broken where somebody looks.
//!
//! `NUDA_SEEDS=1000:500` runs 500 seeds from 1000 on instead of the usual ones.
#![allow(clippy::unwrap_used, clippy::panic)]

use nuda_sql_tests::script;

#[test]
fn references_hold_on_all_replicas_whatever_was_exchanged_when() {
    script::run_seeds("foreign_keys.py", "1:300", &[]);
}

#[test]
fn a_shop_of_many_tables_holds_together() {
    script::run("shop.py", &[]);
}
