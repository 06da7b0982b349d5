//! A whole graph runs in the order that a seed decides: the same seed again, in the same order; and a seed that fails is
//! told, and runs again.

use crate::rig::{DOWN, Rig, Setup, UP, create, number, try_create};
use ks_abi::{KsPinDataFlow, NtStatus, STATUS_PENDING};
use ks_io::sync::{Arc, Mutex};
use ks_stream::Pin;
use std::collections::HashSet;
use std::process::{Command, Output};
use std::sync::atomic::Ordering::SeqCst;

/// What happened in a graph of three filters while one client brought its pins up, another reset the sink, and a third
/// opened and closed a pin of its own; and whether the reset began before the first frame had arrived.
fn run(seed: u64) -> (Vec<String>, bool) {
    let rig = Rig::with(Setup { seed, middle_in_place: Some((0, 1)), ..Setup::default() });
    rig.source.last.store(20, SeqCst);
    let order = Arc::new(Mutex::new(Vec::new()));
    for (name, probe) in [("middle", &rig.middle), ("sink", &rig.sink)] {
        let order = order.clone();
        probe.script(move |_, pin: &Arc<Pin>| -> NtStatus {
            let mut edge = pin.leading_edge();
            while let Some(frame) = edge {
                order.lock().push(format!("{name} {:?}", number(&frame)));
                edge = frame.advance();
            }
            STATUS_PENDING
        });
    }
    let (from, through, to) = (rig.open("source"), rig.open("middle"), rig.open("sink"));
    let sink = Arc::new(create(&to, 0, KsPinDataFlow::IN, None));
    let output = create(&through, 1, KsPinDataFlow::OUT, Some(&sink));
    let input = create(&through, 0, KsPinDataFlow::IN, None);
    let source = create(&from, 0, KsPinDataFlow::OUT, Some(&input));
    let services = rig.services().clone();
    let resets = {
        let (sink, order) = (sink.clone(), order.clone());
        let reset = move || {
            order.lock().push("reset".to_owned());
            let _ = sink.reset(ks_abi::KsReset::BEGIN);
            let _ = sink.reset(ks_abi::KsReset::END);
        };
        services.spawn("resets", reset).unwrap()
    };
    let opens = {
        let (session, order) = (rig.session.clone(), order.clone());
        let open = move || {
            let filter = ks_client::Client::new(session).open_by_name("sink").unwrap();
            let pin = try_create(&filter, 0, KsPinDataFlow::IN, None);
            order.lock().push(format!("another pin {}", pin.is_ok()));
        };
        services.spawn("opens", open).unwrap()
    };
    for state in UP {
        for pin in [&*sink, &output, &input, &source] {
            pin.set_state(state).unwrap();
            order.lock().push(format!("{state}"));
        }
    }
    resets.join();
    opens.join();
    rig.settle();
    for state in DOWN {
        for pin in [&source, &input, &output, &*sink] {
            pin.set_state(state).unwrap();
        }
    }
    drop((source, input, output, sink, from, through, to));
    rig.assert_quiescent();
    let mut trace = std::mem::take(&mut *order.lock());
    let place = |what: &str| trace.iter().position(|step| step.starts_with(what));
    let reset_first = place("reset") < place("sink").or(Some(usize::MAX));
    trace.extend(rig.take_log());
    (trace, reset_first)
}

#[test]
fn one_seed_is_one_order_of_a_whole_graph_and_another_is_another() {
    let mut orders = HashSet::new();
    for seed in 0..40 {
        let (trace, _) = run(seed);
        assert!(trace.iter().filter(|step| step.starts_with("middle Some")).count() >= 20, "every frame: {trace:?}");
        assert_eq!(trace, run(seed).0, "seed {seed} again");
        orders.insert(trace);
    }
    assert!(orders.len() > 20, "only {} orders of 40", orders.len());
}

const CHILD: &str = "USERKS_TEST_CHILD";
const FAILS_SOMETIMES: &str = "a planted assumption: no reset comes before the first frame";

fn child(seed: Option<u64>) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "seeds::a_seed_that_fails_is_told_and_fails_again", "--nocapture"]).env(CHILD, "1");
    match seed {
        Some(seed) => command.env("KS_SEED", seed.to_string()),
        None => command.env_remove("KS_SEED"),
    };
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn a_seed_that_fails_is_told_and_fails_again() {
    if std::env::var_os(CHILD).is_some() {
        for seed in 0..200 {
            let (trace, reset_first) = run(seed);
            assert!(!reset_first, "{FAILS_SOMETIMES}\n{}\n", trace.join(", "));
        }
        return;
    }
    let (passed, said) = child(None);
    assert!(!passed, "none of 200 orders has the reset first");
    let told = said.split("KS_SEED=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let seed = told.unwrap_or_else(|| panic!("no seed is told: {said}"));
    let failure =
        |said: &str| said.lines().skip_while(|line| !line.contains(FAILS_SOMETIMES)).nth(1).map(str::to_owned);
    let first = failure(&said).expect("the trace of the failure");
    let (passed, again) = child(Some(seed));
    assert!(!passed, "seed {seed} passes when it runs again");
    assert_eq!(failure(&again).as_ref(), Some(&first), "it fails in the same order");
    // One that did not fail does not fail in the place of any other.
    let good = (0..200).find(|seed| !run(*seed).1).expect("the reset is not always first");
    assert!(child(Some(good)).0, "seed {good}");
}
