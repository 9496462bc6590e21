//! APISIX #13482: at the cap, and clients that leave.

use std::time::Duration;

use serde_json::{Value, json};

use super::Lab;
use super::bed::Bed;
use crate::modes::{self, Load};
use crate::results::{Claim, Outcome};
use crate::{Fallible, SessionIds, grouped};

const CONNECTIONS: usize = 32;

const ORIGINAL: &str =
    "apisix#13482: no cap before it; a client that left kept its place up to 60 s, or until a reload";

pub(super) async fn run(lab: &Lab) -> Fallible<Outcome> {
    let cap = lab.count(1000, 50);
    let bed = Bed::start(move |setup| setup.top(json!({"max_sessions": cap}))).await?;
    let (refused, ids) = at_the_cap(&bed, cap).await?;
    let (reused, ids) = freed(&bed, ids).await;
    let left = left(&bed, cap, ids).await?;
    Ok(Outcome {
        title: "APISIX #13482: caps and clients that leave".to_owned(),
        claims: vec![
            refused.claim.against(ORIGINAL),
            reused.claim,
            left.claim.against(ORIGINAL),
        ],
        charts: Vec::new(),
        figures: json!({"at_the_cap": refused.figures, "freed": reused.figures, "left": left.figures}),
    })
}

struct Part {
    claim: Claim,
    figures: Value,
}

/// Opens as many sessions as may be, and then as many more at once.
async fn at_the_cap(bed: &Bed, cap: u64) -> Fallible<(Part, SessionIds)> {
    let filling = Load::on(&bed.target);
    let ids = modes::fill(&filling, cap, CONNECTIONS, SessionIds::default()).await;
    let burst = Load::on(&bed.target);
    modes::burst(&burst, usize::try_from(cap)?).await;
    let (opened, refused) = (filling.recorder.answered(200), burst.recorder.answered(429));
    let claim = Claim::new(
        &format!("at a cap of {}, as many more at once", grouped(cap)),
        "all 429",
        format!(
            "{} opened, {} refused with 429",
            grouped(opened),
            grouped(refused)
        ),
        opened == cap && refused == cap,
    );
    let figures = json!({"fill": filling.figures(), "burst": burst.figures()});
    Ok((Part { claim, figures }, ids))
}

/// Ends one session and opens another, again and again at the cap.
async fn freed(bed: &Bed, mut ids: SessionIds) -> (Part, SessionIds) {
    let load = Load::on(&bed.target);
    let turns = ids.len();
    for _ in 0..turns {
        ids = modes::close(&load, 1, 1, ids).await;
        ids = modes::fill(&load, 1, 1, ids).await;
    }
    let failed = load.recorder.failed();
    let claim = Claim::new(
        "at the cap, a place freed by DELETE is taken by the next initialize at once",
        "always",
        format!(
            "{} of {}",
            grouped(turns as u64 - failed.min(turns as u64)),
            grouped(turns as u64)
        ),
        failed == 0,
    );
    let figures = json!(load.figures());
    (Part { claim, figures }, ids)
}

/// All places are free. As many clients take them, and leave before they are answered.
async fn left(bed: &Bed, cap: u64, ids: SessionIds) -> Fallible<Part> {
    let closing = Load::on(&bed.target);
    modes::close(&closing, ids.len() as u64, CONNECTIONS, ids).await;
    bed.server.take_to_initialize(Duration::from_secs(5));
    let aborting = Load::on(&bed.target);
    let clients = modes::abort(&aborting, usize::try_from(cap)?, Duration::from_secs(2));
    let taken = async {
        let taken = bed.wait_for("vm.reserved", cap, Duration::from_secs(2)).await?;
        Fallible::Ok(taken.is_some())
    };
    let ((), taken) = tokio::join!(clients, taken);
    let back = bed.wait_for("vm.reserved", 0, Duration::from_secs(10)).await?;
    bed.server.take_to_initialize(Duration::ZERO);
    let again = Load::on(&bed.target);
    modes::fill(&again, cap, CONNECTIONS, SessionIds::default()).await;
    let (opened, taken) = (again.recorder.answered(200), taken?);
    let returned = back.map_or("not back in 10 s".to_owned(), |seconds| {
        format!("back after {:.0} ms", seconds * 1000.0)
    });
    let claim = Claim::new(
        &format!(
            "{} clients take every place and leave unanswered: places left taken",
            grouped(cap)
        ),
        "0",
        format!(
            "{}; {} of {} opened then",
            returned,
            grouped(opened),
            grouped(cap)
        ),
        taken && back.is_some() && opened == cap,
    );
    let figures = json!({"all_taken": taken, "back_seconds": back, "again": again.figures()});
    Ok(Part { claim, figures })
}
