//! Random operations on hundreds of connections; both ends count, and so does the agent.
//!
//! `CONN_TRACE_RANDOM_SEED` repeats the operations of an earlier run, as far as scheduling allows.
//! `CONN_TRACE_RANDOM_SECONDS` says for how long. `CONN_TRACE_RANDOM_MISSED_ENDS` is the number of
//! ends that each agent may say that the kernel did not show it (`missed_ends`), 50 unless said: these
//! rows must still be ended within the time that the user guide promises, with exact counts.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use conn_trace_tests::{
    netns,
    random::{ending::Side, watch::Watch, world::World},
    skip::skip,
};

const SEED: &str = "CONN_TRACE_RANDOM_SEED";
const SECONDS: &str = "CONN_TRACE_RANDOM_SECONDS";
const MISSED_ENDS: &str = "CONN_TRACE_RANDOM_MISSED_ENDS";
/// Enough for continuous integration to meet every operation.
const USUAL: Duration = Duration::from_secs(6);
/// The kernel of a sandbox may run no program in interrupts of its own init; the agent finds these ends.
const USUAL_MISSED_ENDS: u64 = 50;
const PROCESSES: usize = 8;
const CONNECTIONS: usize = 400;
/// How long it takes until the agent knows of skipped runs, with some reserve.
const MISSES: Duration = Duration::from_millis(1500);
/// Between two comparisons.
const ROUNDS: u32 = 200;
/// Between two lines that say how far the long run is.
const PROGRESS: Duration = Duration::from_secs(60);

/// Says the seed once more if the test fails, wherever it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("to repeat: {SEED}={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let number = text.parse();
    assert!(number.is_ok(), "{variable}: {text:?} is no number");
    number.ok()
}

/// Compares every agent's rows with the model, and forgets what all of them have shown to the end.
fn compare(world: &mut World, watches: &mut [Watch], seed: u64) {
    for watch in watches.iter_mut() {
        if let Err(difference) = watch.compare(&world.model, &world.fleet) {
            // A skipped run of a program explains differences, and shows within a second.
            thread::sleep(MISSES);
            let losses = watch.losses();
            let later = watch.compare(&world.model, &world.fleet);
            let later = later.err().unwrap_or_else(|| "none".to_owned());
            panic!(
                "{SEED}={seed}: after {:?}: losses {losses:?}, difference: {difference}\n\n\
                 after a second, difference: {later}",
                world.done
            );
        }
    }
    world.model.bursts.clear();
    world.model.settle();
    let over: Vec<u64> = world
        .model
        .connections
        .values()
        .filter(|connection| connection.is_over())
        .map(|connection| connection.number)
        .filter(|&number| {
            let is_done = |watch: &Watch| {
                Side::BOTH
                    .iter()
                    .all(|&side| watch.is_done(&(number, side)))
            };
            watches.iter().all(is_done)
        })
        .collect();
    for number in over {
        for watch in watches.iter_mut() {
            Side::BOTH
                .iter()
                .for_each(|&side| watch.forget(&world.model, &(number, side)));
        }
        world.model.connections.remove(&number);
    }
}

/// What is not done to a single end.
fn event(world: &mut World, watches: &mut Vec<Watch>, tolerated: u64) {
    match world.rng().u32(..1000) {
        0..100 => world.burst(),
        100..150 => world.refused(),
        150..200 => world.stream(),
        200..300 => world.close_both(),
        300..400 => world.reconnect(),
        400..405 => world.replace(),
        405 | 406 => {
            let is_crash = world.rng().bool();
            watches.remove(0).stop(is_crash);
            if world.rng().bool() {
                (0..world.rng().usize(1..20)).for_each(|_| world.round());
            }
            watches.push(Watch::start(&mut world.model, &world.fleet, tolerated));
            world.did("restart of an agent");
        }
        407 | 408 if watches.len() == 1 => {
            watches.push(Watch::start(&mut world.model, &world.fleet, tolerated));
            world.did("second agent");
        }
        409..=412 if watches.len() > 1 => watches.remove(1).stop(false),
        _ => {}
    }
}

#[test]
fn random_operations_are_counted_by_the_agent_as_by_both_ends() {
    // Other programs may come to use ports that were used here a while ago.
    if !netns::leave_for_a_new_one() {
        let test = "random_operations_are_counted_by_the_agent_as_by_both_ends";
        return skip(test, "no network namespace can be made");
    }
    let seed = number(SEED).unwrap_or_else(|| fastrand::u64(..));
    let duration = number(SECONDS).map_or(USUAL, Duration::from_secs);
    let tolerated = number(MISSED_ENDS).unwrap_or(USUAL_MISSED_ENDS);
    println!("{SEED}={seed}, {duration:?}");
    let _seed = Seed(seed);
    let mut world = World::new(seed, PROCESSES, CONNECTIONS);
    let mut watches = vec![Watch::start(&mut world.model, &world.fleet, tolerated)];
    let begin = Instant::now();
    let mut said = begin;
    let mut comparisons = 0_u64;
    while begin.elapsed() < duration {
        for _ in 0..world.rng().u32(1..ROUNDS) {
            world.round();
            event(&mut world, &mut watches, tolerated);
        }
        compare(&mut world, &mut watches, seed);
        comparisons += 1;
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            println!(
                "{:?}, {comparisons} comparisons: {:?}",
                begin.elapsed(),
                world.done
            );
        }
    }
    world.close_all();
    compare(&mut world, &mut watches, seed);
    println!("{comparisons} comparisons: {:?}", world.done);
    assert!(world.model.connections.is_empty(), "all are shown closed");
    watches.into_iter().for_each(|watch| watch.stop(false));
}
