//! Every interleaving of the two sides of a ring, and of one who goes to sleep with one who has work for it. Each model
//! comes with mutants that must fail, so that a model which explores too little is noticed. `scripts/loom` runs them.

use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering::Relaxed as Plain;

use arrayvec::ArrayVec;
use loom::thread;

use super::sleep::Sleeper;
use super::spsc::spsc;
use super::sync::{Arc, mutant};

/// What a mutant breaks is broken for all threads of the process: one model at a time.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Whether a model finds something wrong.
fn fails(model: impl Fn() + Send + Sync + 'static) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loom::model(model))).is_err()
}

/// Three items through a ring of two slots, so that a slot is used again while the other side may be at it. What the
/// producer finds no room for it gives up, what the consumer does not find in time goes with the ring.
fn items_pass() {
    let (producer, consumer) = spsc::<u32>(2);
    // Where the model fails neither side is dropped: loom bears no second panic.
    let (mut producer, mut consumer) = (ManuallyDrop::new(producer), ManuallyDrop::new(consumer));
    let sending = thread::spawn(move || {
        for number in 1..=3 {
            let _ = producer.push(number);
            producer.publish();
        }
        drop(ManuallyDrop::into_inner(producer));
    });
    let mut numbers = ArrayVec::<_, 4>::new();
    for _ in 0..2 {
        consumer.fill(&mut numbers);
    }
    let is_finished = consumer.is_finished();
    sending.join().expect("the producer does not fail");
    let seen = numbers.len();
    consumer.fill(&mut numbers);
    assert!(!is_finished || numbers.len() == seen, "an item came after the end");
    assert!(numbers.is_sorted() && numbers.first() == Some(&1), "{numbers:?}");
    assert!(consumer.is_finished());
    drop(ManuallyDrop::into_inner(consumer));
}

#[test]
fn items_pass_whole_and_in_order() {
    let _alone = ONE_AT_A_TIME.lock();
    loom::model(items_pass);
}

#[test]
fn mutant_ends_published_without_order_are_noticed() {
    let _alone = ONE_AT_A_TIME.lock();
    mutant::RELAXED_RING.store(true, Plain);
    let noticed = fails(items_pass);
    mutant::RELAXED_RING.store(false, Plain);
    assert!(noticed, "slots changed hands without order, and neither side saw it");
}

/// One hands an item over, the other goes to sleep unless it finds it: it must not be there while the one sleeps and
/// nobody has woken it.
fn work_for_one_who_goes_to_sleep() {
    let (mut producer, mut consumer) = spsc::<u32>(1);
    let sleeper = Arc::new(Sleeper::default());
    let seen = Arc::clone(&sleeper);
    let working = thread::spawn(move || {
        let _ = producer.push(1);
        producer.publish();
        // The producer stays: a ring that closes is no work.
        (seen.must_be_woken(), producer)
    });
    sleeper.lies_down();
    let found = consumer.fill(&mut ArrayVec::<_, 1>::new()) > 0;
    let (woken, producer) = working.join().expect("the worker does not fail");
    drop((producer, consumer));
    assert!(found || woken, "it sleeps over its work");
}

#[test]
fn nobody_sleeps_over_work() {
    let _alone = ONE_AT_A_TIME.lock();
    loom::model(work_for_one_who_goes_to_sleep);
}

#[test]
fn mutant_a_last_look_without_a_fence_is_noticed() {
    let _alone = ONE_AT_A_TIME.lock();
    mutant::UNFENCED_SLEEP.store(true, Plain);
    let noticed = fails(work_for_one_who_goes_to_sleep);
    mutant::UNFENCED_SLEEP.store(false, Plain);
    assert!(noticed, "it looked for work before it said that it sleeps, and nobody noticed");
}
