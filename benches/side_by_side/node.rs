//! A node with many containers of which few talk costs what the few cost, but for what the others
//! cost at rest.

use std::time::Duration;

use crate::host::Lab;
use crate::many::{self, Asked, Load};
use crate::sparse::{quiet_root, Idle};
use crate::table::{median, spread, Table};
use crate::{rounds, Failure};

const CONTAINERS: usize = 10_000;
const TALKING: usize = 100;
const RATE: u64 = 1000;
const BAR: f64 = 1.2;

/// Both rows.
pub fn rows(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let (quiet, empty) = (quiet_root(lab, CONTAINERS - TALKING)?, quiet_root(lab, 0)?);
    let node = Load {
        containers: CONTAINERS,
        talking: TALKING,
        rate: RATE,
    };
    let (mut whole, mut few, mut tail) = (Vec::new(), Vec::new(), Vec::new());
    let (mut idle, mut none) = (Idle::default(), Idle::default());
    // Long ones: two will do.
    for _ in 0..rounds()?.min(2) {
        whole.push(many::run(lab, node, many::ours(lab), Asked::Number)?.cpu);
        tail.push(many::run(lab, node, many::tail(lab), Asked::Losses)?.cpu);
        let alone = Load::of_all(TALKING, RATE);
        few.push(many::run(lab, alone, many::ours(lab), Asked::Number)?.cpu);
        idle.measure(lab, many::ours(lab)(quiet.path()), Duration::from_secs(15))?;
        none.measure(lab, many::ours(lab)(empty.path()), Duration::from_secs(5))?;
    }
    let at_rest = (median(&idle.cpu) - median(&none.cpu)).max(0.0);
    let ratio = (median(&whole) - at_rest) / median(&few);
    table.add(
        "a node of 10,000 containers of which 100 talk, 1000 lines/s",
        &format!("≤ {BAR} × 100 containers that talk, without what 9,900 cost at rest"),
        format!("{}: {ratio:.2} ×", spread(&whole, "% CPU")),
        format!(
            "100 alone: {}; tail with all: {}",
            spread(&few, "% CPU"),
            spread(&tail, "% CPU")
        ),
        ratio <= BAR,
    );
    table.add(
        "9,900 containers at rest, more than a host with none",
        "≤ 1 % CPU",
        format!("{at_rest:.3} % CPU"),
        format!("with none: {:.3} % CPU", median(&none.cpu)),
        at_rest <= 1.0,
    );
    Ok(())
}
