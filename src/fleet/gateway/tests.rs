use super::*;

const TERMS: Terms = Terms {
    cap: 100,
    lease: Duration::from_secs(10),
    when_lost: WhenLost::Local,
};

const ID: GatewayId = GatewayId(7);

const OTHER: GatewayId = GatewayId(8);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn demand(used: u32, waiting: u32) -> Demand {
    Demand { used, waiting }
}

fn entry(gateway: GatewayId, share: u32) -> Entry {
    Entry {
        gateway,
        share,
        cap: 100,
        waiting: false,
    }
}

/// A gateway and an etcd that it has for itself and one other.
struct Pair {
    gateway: Gateway,
    now: u64,
    revision: i64,
    entries: Vec<Entry>,
    calls: Vec<Ask>,
}

impl Pair {
    fn new(terms: Terms, others: &[Entry]) -> Self {
        Self {
            gateway: Gateway::new(ID, terms, at(0)),
            now: 0,
            revision: 9,
            entries: others.to_vec(),
            calls: Vec::new(),
        }
    }

    /// A gateway that has joined, with this many sessions.
    fn joined(used: u32, others: &[Entry]) -> Self {
        let mut pair = Self::new(TERMS, others);
        pair.run(demand(used, 0), 500);
        assert!(matches!(pair.gateway.limit(), Limit::Places { most, .. } if most >= used));
        pair
    }

    /// The next call at this moment.
    fn call(&mut self, demand: Demand) -> Result<Call, Timestamp> {
        loop {
            match self.gateway.advance(demand, at(self.now)) {
                Next::Again => {}
                Next::Send(call) => return Ok(call),
                Next::Wait(until) => return Err(until),
            }
        }
    }

    /// The next call, whenever it comes.
    fn next_call(&mut self, demand: Demand) -> Call {
        loop {
            match self.call(demand) {
                Ok(call) => return call,
                Err(until) => self.now = until.as_millis(),
            }
        }
    }

    fn reply(&mut self, ask: &Ask) -> Answer {
        match *ask {
            Ask::Grant(lasts) => Answer::Granted { lease: 1, lasts },
            Ask::Renew(_) => Answer::Renewed {
                lasts: Duration::from_secs(10),
                revision: Some(self.revision),
            },
            Ask::Look => Answer::Seen(self.view()),
            Ask::Swap { entry, growth, .. } if growth.is_none_or(|growth| growth == self.revision) => {
                self.revision += 1;
                self.entries.retain(|other| other.gateway != ID);
                self.entries.push(entry);
                Answer::Written(self.revision)
            }
            Ask::Swap { .. } => Answer::Seen(self.view()),
        }
    }

    fn view(&self) -> View {
        View {
            revision: self.revision,
            entries: self.entries.clone(),
        }
    }

    /// Lets this many milliseconds pass; each call is answered at once.
    fn run(&mut self, demand: Demand, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            match self.call(demand) {
                Ok(call) => {
                    self.calls.push(call.ask);
                    let answer = self.reply(&call.ask);
                    self.gateway.answered(call.number, answer, at(self.now));
                }
                Err(until) => self.now = until.as_millis().max(self.now + 1).min(end),
            }
        }
    }

    fn most(&self) -> u32 {
        match self.gateway.limit() {
            Limit::Places { most, .. } => most,
            Limit::Own => panic!("lost"),
        }
    }
}

#[test]
fn the_first_gateway_has_some_slack() {
    let pair = Pair::joined(0, &[]);
    assert_eq!(pair.most(), 100 / 16);
    assert!(!pair.gateway.is_lost());
}

#[test]
fn newcomers_get_places_that_nobody_has() {
    let mut pair = Pair::joined(0, &[entry(OTHER, 30)]);
    pair.run(demand(4, 60), 10);
    assert!(pair.most() >= 64, "{:?}", pair.gateway);
    pair.run(demand(64, 60), 10);
    assert_eq!(pair.most(), 70);
}

#[test]
fn no_places_are_taken_for_those_that_may_come_while_newcomers_wait() {
    let mut pair = Pair::joined(0, &[]);
    pair.run(demand(0, 40), 400);
    assert_eq!(pair.most(), 40);
    pair.run(demand(40, 0), 600);
    assert_eq!(pair.most(), 40 + 100 / 16);
}

#[test]
fn newcomers_that_come_one_by_one_do_not_all_wait() {
    let mut pair = Pair::joined(0, &[]);
    let (mut used, mut waited) = (0, 0);
    for _ in 0..60 {
        if used == pair.most() {
            waited += 1;
            pair.run(demand(used, 1), 20);
        }
        used += 1;
        assert!(used <= pair.most());
        pair.run(demand(used, 0), 20);
    }
    assert!(waited <= 40, "{waited} of 60 have waited");
}

#[test]
fn before_a_gateway_takes_places_for_which_nobody_waits_it_looks_whether_others_do() {
    let mut pair = Pair::joined(0, &[entry(OTHER, 60)]);
    pair.run(demand(0, 30), 10);
    // The other says that it is short: that is no growth, and takes no revision that this gateway compares.
    pair.entries.retain(|entry| entry.gateway == ID);
    pair.entries.push(Entry {
        waiting: true,
        ..entry(OTHER, 60)
    });
    for _ in 0..300 {
        pair.run(demand(30, 0), 10);
        assert_eq!(pair.most(), 30);
    }
}

#[test]
fn a_gateway_at_rest_sends_one_call_a_second() {
    for lease in [3, 5, 10, 300] {
        let lease = Duration::from_secs(lease);
        let mut pair = Pair::new(Terms { lease, ..TERMS }, &[entry(OTHER, 20)]);
        pair.run(demand(5, 0), 2_000);
        pair.calls.clear();
        pair.run(demand(5, 0), 100_000);
        let calls = pair.calls.len();
        assert!(
            (95..=101).contains(&calls),
            "{calls} calls at a lease of {lease:?}"
        );
        assert!(!pair.gateway.is_lost() && pair.most() >= 5);
    }
}

#[test]
fn a_renewal_that_shows_a_change_is_followed_by_a_look() {
    let mut pair = Pair::joined(5, &[entry(OTHER, 20)]);
    pair.run(demand(5, 0), 5_000);
    for changes in [false, true] {
        pair.revision += i64::from(changes);
        let renewal = loop {
            let call = pair.next_call(demand(5, 0));
            if matches!(call.ask, Ask::Renew(_)) {
                break call;
            }
            let view = pair.gateway.view().clone();
            pair.gateway
                .answered(call.number, Answer::Seen(view), at(pair.now));
        };
        let answer = pair.reply(&renewal.ask);
        pair.gateway.answered(renewal.number, answer, at(pair.now));
        let next = pair.call(demand(5, 0)).map(|call| call.ask);
        assert_eq!(next == Ok(Ask::Look), changes, "{next:?}");
    }
}

#[test]
fn a_gateway_that_slept_lets_nobody_in() {
    let pair = Pair::joined(3, &[]);
    let limit = pair.gateway.limit();
    assert!(limit.has_room(3, at(8_000)) && !limit.has_room(3, at(8_750)));
}

#[test]
fn a_gateway_without_an_answer_is_lost_after_a_second() {
    for (when_lost, limit, outlook) in [
        (WhenLost::Local, Limit::Own, Outlook::Wait),
        (WhenLost::Refuse, Limit::NOBODY, Outlook::Lost),
    ] {
        let mut pair = Pair::new(Terms { when_lost, ..TERMS }, &[]);
        for millis in 0..PATIENCE.as_millis() as u64 {
            pair.now = millis;
            let _ = pair.call(demand(0, 1));
            assert!(!pair.gateway.is_lost() && pair.gateway.limit() == Limit::NOBODY);
            assert_eq!(pair.gateway.outlook(at(0), at(millis)), Outlook::Wait);
        }
        pair.now = 1_000;
        let _ = pair.call(demand(0, 1));
        assert!(pair.gateway.is_lost());
        assert_eq!(pair.gateway.limit(), limit);
        assert_eq!(pair.gateway.outlook(at(1_000), at(1_000)), outlook);
    }
}

#[test]
fn a_newcomer_that_came_before_the_first_call_waits_until_the_gateway_is_lost() {
    let mut pair = Pair::new(TERMS, &[]);
    for millis in 100..1_100 {
        pair.now = millis;
        let _ = pair.call(demand(0, 1));
        assert_eq!(pair.gateway.outlook(at(0), at(millis)), Outlook::Wait);
    }
    pair.now = 1_100;
    let _ = pair.call(demand(0, 1));
    assert_eq!(pair.gateway.limit(), Limit::Own);
}

#[test]
fn a_lost_gateway_brings_its_sessions_along_even_over_the_cap() {
    let mut pair = Pair::new(TERMS, &[entry(OTHER, 90)]);
    for millis in 0..3_000 {
        pair.now = millis;
        let _ = pair.call(demand(40, 0));
    }
    assert_eq!(pair.gateway.limit(), Limit::Own);
    pair.run(demand(40, 5), 3_000);
    assert_eq!(pair.most(), 40);
    assert_eq!(
        pair.entries,
        [
            entry(OTHER, 90),
            Entry {
                waiting: true,
                ..entry(ID, 40)
            }
        ]
    );
}

#[test]
fn nobody_is_let_in_while_a_lost_gateway_joins() {
    let mut pair = Pair::new(TERMS, &[]);
    for millis in 0..3_000 {
        pair.now = millis;
        let _ = pair.call(demand(1, 0));
    }
    let mut seen = false;
    for millis in 3_000..9_000 {
        pair.now = millis;
        if let Ok(call) = pair.call(demand(1, 0)) {
            if let Ask::Swap { .. } = call.ask {
                assert_eq!(pair.gateway.limit(), Limit::NOBODY);
                seen = true;
                break;
            }
            let answer = pair.reply(&call.ask);
            pair.gateway.answered(call.number, answer, at(millis));
        }
    }
    assert!(seen, "{:?}", pair.gateway);
}

/// The calls of a minute in which newcomers wait, and `answer` is all that comes.
fn calls_of_a_minute(pair: &mut Pair, answer: impl Fn(&Ask) -> Answer) -> u64 {
    let mut calls = 0;
    for millis in 0..60_000 {
        pair.now = millis;
        if let Ok(call) = pair.call(demand(0, 3)) {
            calls += 1;
            let answer = answer(&call.ask);
            pair.gateway.answered(call.number, answer, at(millis));
        }
    }
    calls
}

#[test]
fn an_answer_that_is_none_is_counted_and_tried_again_later() {
    let mut pair = Pair::new(TERMS, &[]);
    let calls = calls_of_a_minute(&mut pair, |_| Answer::Nothing);
    assert_eq!(pair.gateway.take_tally().failed, calls);
    assert!((60..130).contains(&calls), "{calls} calls in a minute");
}

#[test]
fn an_etcd_that_knows_no_lease_is_not_flooded() {
    let mut pair = Pair::new(TERMS, &[]);
    let calls = calls_of_a_minute(&mut pair, |ask| match *ask {
        Ask::Grant(lasts) => Answer::Granted { lease: 5, lasts },
        Ask::Renew(_) | Ask::Look | Ask::Swap { .. } => Answer::NoLease,
    });
    assert!(calls < 900, "{calls} calls in a minute");
}

#[test]
fn a_gateway_whose_lease_etcd_does_not_know_begins_anew() {
    let mut pair = Pair::joined(4, &[]);
    let call = pair.next_call(demand(4, 0));
    pair.gateway.answered(call.number, Answer::NoLease, at(pair.now));
    assert_eq!(pair.gateway.limit(), Limit::NOBODY);
    pair.run(demand(4, 0), 500);
    assert!(pair.most() >= 4);
}

#[test]
fn an_etcd_where_everybody_else_writes_is_not_flooded() {
    let mut pair = Pair::joined(0, &[]);
    let mut calls = 0;
    for millis in 500..60_500 {
        pair.now = millis;
        if let Ok(call) = pair.call(demand(0, 20)) {
            calls += 1;
            pair.revision += 1;
            let answer = match call.ask {
                Ask::Swap { .. } => Answer::Seen(pair.view()),
                Ask::Grant(_) | Ask::Renew(_) | Ask::Look => pair.reply(&call.ask),
            };
            pair.gateway.answered(call.number, answer, at(millis));
        }
    }
    let conflicts = pair.gateway.take_tally().conflicts;
    assert!(conflicts > 1_000 && calls < 2_500, "{conflicts} of {calls} calls");
}

#[test]
fn an_entry_that_somebody_has_deleted_is_no_share() {
    let mut pair = Pair::joined(5, &[]);
    pair.entries.clear();
    pair.revision += 1;
    loop {
        let call = pair.next_call(demand(5, 0));
        if call.ask == Ask::Look {
            pair.gateway
                .answered(call.number, Answer::Seen(pair.view()), at(pair.now));
            break;
        }
        let answer = pair.reply(&call.ask);
        pair.gateway.answered(call.number, answer, at(pair.now));
    }
    assert_eq!(pair.most(), 0);
    pair.run(demand(5, 0), 1_000);
    assert!(pair.most() >= 5);
}

#[test]
fn a_newcomer_is_refused_once_a_look_has_shown_a_full_fleet() {
    let mut pair = Pair::joined(0, &[entry(OTHER, 100)]);
    pair.run(demand(0, 1), 4_000);
    let came = at(pair.now);
    assert_eq!(pair.gateway.outlook(came, came), Outlook::Wait);
    pair.run(demand(0, 1), 250);
    assert_eq!(pair.gateway.outlook(came, at(pair.now)), Outlook::Full);
}

#[test]
fn a_newcomer_at_a_fleet_that_seems_full_waits_for_a_second_at_most() {
    let mut pair = Pair::joined(0, &[entry(OTHER, 100)]);
    let came = at(pair.now);
    pair.run(demand(0, 1), 999);
    assert_eq!(pair.gateway.outlook(came, at(pair.now)), Outlook::Wait);
    pair.now += 1;
    assert_eq!(pair.gateway.outlook(came, at(pair.now)), Outlook::Full);
}

#[test]
fn the_smallest_cap_is_in_force() {
    let mut pair = Pair::joined(
        0,
        &[Entry {
            cap: 40,
            ..entry(OTHER, 10)
        }],
    );
    pair.run(demand(0, 90), 100);
    assert_eq!((pair.gateway.cap(), pair.most()), (40, 30));
    assert!(pair.gateway.view().caps_differ());
    pair.gateway.follow(Terms { cap: 20, ..TERMS });
    pair.run(demand(15, 90), 100);
    assert_eq!((pair.gateway.cap(), pair.most()), (20, 15));
}

#[test]
fn another_worker_goes_on_with_the_share() {
    let mut pair = Pair::joined(5, &[entry(OTHER, 20)]);
    let (kept, most) = (pair.gateway.kept(), pair.most());
    pair.gateway = Gateway::resume(kept, most, TERMS, at(pair.now));
    assert_eq!(pair.most(), most);
    pair.run(demand(5, 30), 100);
    assert!(pair.most() >= 35);
    let late = kept.lease.unwrap().until;
    let gateway = Gateway::resume(kept, most, TERMS, late);
    assert_eq!(gateway.limit(), Limit::NOBODY);
}

#[test]
fn another_worker_of_a_lost_gateway_knows_that_it_is_lost() {
    for (when_lost, limit) in [(WhenLost::Local, Limit::Own), (WhenLost::Refuse, Limit::NOBODY)] {
        let terms = Terms { when_lost, ..TERMS };
        let mut pair = Pair::new(terms, &[]);
        pair.now = 1_000;
        let _ = pair.call(demand(0, 0));
        let resumed = Gateway::resume(pair.gateway.kept(), 0, terms, at(1_000));
        assert_eq!((resumed.is_lost(), resumed.limit()), (true, limit));
    }
}

#[test]
fn an_answer_under_a_lease_that_has_ended_gives_no_share() {
    let mut pair = Pair::joined(0, &[]);
    let until = match pair.gateway.limit() {
        Limit::Places { until, .. } => until.as_millis(),
        Limit::Own => panic!("lost"),
    };
    // The lease is renewed early enough for newcomers to come first, and then never again.
    pair.gateway.lease = pair.gateway.lease.map(|lease| Lease {
        renewed: at(until - 600),
        ..lease
    });
    pair.now = until - 500;
    let swap = pair.call(demand(0, 20)).unwrap();
    assert!(matches!(swap.ask, Ask::Swap { .. }), "{swap:?}");
    pair.now = until + 10;
    pair.gateway
        .answered(swap.number, Answer::Written(20), at(pair.now));
    assert_eq!(pair.gateway.limit(), Limit::NOBODY);
    let grant = pair.next_call(demand(0, 0));
    assert!(matches!(grant.ask, Ask::Grant(_)), "{grant:?}");
    let answer = pair.reply(&grant.ask);
    pair.gateway.answered(grant.number, answer, at(pair.now));
    assert_eq!(pair.gateway.limit(), Limit::NOBODY);
}
