//! Every interleaving of readers with the writer, of the code that ships: publication by pointer, the words and blocks
//! of a table, their reclamation. Each model comes with mutants that must fail, so that a model which explores too little
//! is noticed. `scripts/loom` runs them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed as Plain;

use loom::thread;

use super::arena::Arena;
use super::blocks::Blocks;
use super::publication::{Domain, Published, Reader, publish};
use super::stretch::{IDENTITY, LARGEST_BLOCK, SLOTS, Stretch, StretchWriter, leaf_index, load_leaf};
use super::sync::{AtomicU16, AtomicU64, Ordering, mutant};

/// What a mutant breaks is broken for all threads of the process: one model at a time.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Whether a model finds something wrong.
fn fails(model: impl Fn() + Send + Sync + 'static) -> bool {
    let explored = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loom::model(model)));
    explored.is_err()
}

/// Two words of a table, and their one writer. Readers look at the first.
struct Table {
    words: Arc<Arena<AtomicU64>>,
    leaves: Arc<Arena<AtomicU16>>,
    writer: StretchWriter,
}

/// Room for a block of two leaves each time one is published, and one more.
const UNITS: Range<u32> = IDENTITY as u32..IDENTITY as u32 + 4;

/// A stretch whose first slots have one leaf and the others another.
fn halves(first: u16, other: u16) -> Stretch {
    let mut stretch = Stretch::filled(other);
    stretch.slots[..SLOTS / 2].fill(first);
    stretch
}

impl Table {
    fn new(domain: &Arc<Domain>) -> Table {
        let leaves = Arc::new(Arena::new(UNITS.end as usize).expect("memory"));
        let mut blocks = Blocks::new(Arc::clone(domain), UNITS.start, UNITS.end, LARGEST_BLOCK, 1000);
        blocks.retire_each_alone();
        let writer = StretchWriter::new(Arc::clone(&leaves), blocks);
        Table { words: Arc::new(Arena::new(2).expect("memory")), leaves, writer }
    }

    fn store(&mut self, word: usize, stretch: &Stretch) -> bool {
        self.writer.store(&self.words[word], stretch).is_ok()
    }
}

/// Looks the first slot up in a section, as `lpm4` does.
fn first_slot(reader: &mut Reader, words: &Arena<AtomicU64>, leaves: &Arena<AtomicU16>) -> u16 {
    let _section = reader.enter();
    let word = words.first().expect("a word").load(Ordering::Acquire);
    load_leaf(leaves, leaf_index(word, 0))
}

/// A thread that looks the first slot up twice, while it goes from 10 to 11: it must see nothing else, and never go back.
fn reads_ten_then_eleven(table: &Table, domain: &Arc<Domain>) -> thread::JoinHandle<()> {
    let mut reader = domain.reader().expect("a slot");
    let (words, leaves) = (Arc::clone(&table.words), Arc::clone(&table.leaves));
    thread::spawn(move || {
        let seen = [(); 2].map(|()| first_slot(&mut reader, &words, &leaves));
        assert!([[10, 10], [10, 11], [11, 11]].contains(&seen), "{seen:?}");
    })
}

/// The first slot of the first word goes from 10 to 11, by way of another block, and the second word would like to have
/// the block that gets free.
fn a_block_goes_to_another_word(waits: bool) -> impl Fn() + Send + Sync + 'static {
    move || {
        let domain = Domain::new(1);
        let mut table = Table::new(&domain);
        assert!(table.store(0, &halves(10, 90)));
        let reading = reads_ten_then_eleven(&table, &domain);
        if !waits {
            table.writer.blocks.forget_readers();
        }
        // Other runs: in place is another model.
        let mut changed = halves(11, 91);
        changed.slots[SLOTS / 2] = 11;
        assert!(table.store(0, &changed));
        table.writer.blocks.reclaim();
        // While the first block may not be used again, there is no room.
        let _ = table.store(1, &halves(77, 78));
        reading.join().expect("the reader saw what it may see");
    }
}

#[test]
fn a_reader_sees_a_word_before_or_after_each_change() {
    let _alone = ONE_AT_A_TIME.lock();
    loom::model(a_block_goes_to_another_word(true));
}

#[test]
fn mutant_a_block_that_is_used_again_at_once_is_noticed() {
    let _alone = ONE_AT_A_TIME.lock();
    assert!(fails(a_block_goes_to_another_word(false)), "blocks were used again at once, and no reader saw it");
}

#[test]
fn mutant_a_word_published_without_order_is_noticed() {
    let _alone = ONE_AT_A_TIME.lock();
    mutant::RELAXED_PUBLICATION.store(true, Plain);
    let noticed = fails(a_block_goes_to_another_word(true));
    mutant::RELAXED_PUBLICATION.store(false, Plain);
    assert!(noticed, "words were published before their leaves, and no reader saw it");
}

#[test]
fn a_leaf_replaced_in_place_is_the_old_one_or_the_new_one() {
    let _alone = ONE_AT_A_TIME.lock();
    loom::model(|| {
        let domain = Domain::new(1);
        let mut table = Table::new(&domain);
        assert!(table.store(0, &halves(10, 90)));
        let reading = reads_ten_then_eleven(&table, &domain);
        assert!(table.store(0, &halves(11, 91)));
        reading.join().expect("the reader saw what it may see");
    });
}

/// A reader that goes offline and comes back while a block is retired and used again.
#[test]
fn a_reader_that_comes_back_is_waited_for() {
    let _alone = ONE_AT_A_TIME.lock();
    loom::model(|| {
        let domain = Domain::new(1);
        let mut table = Table::new(&domain);
        assert!(table.store(0, &halves(10, 90)));
        let mut reader = domain.reader().expect("a slot");
        let (words, leaves) = (Arc::clone(&table.words), Arc::clone(&table.leaves));
        let reading = thread::spawn(move || {
            for _ in 0..2 {
                let leaf = first_slot(&mut reader, &words, &leaves);
                assert!([10, 3].contains(&leaf), "{leaf}");
                reader.offline();
            }
        });
        assert!(table.store(0, &Stretch::filled(3)));
        table.writer.blocks.reclaim();
        for leaf in [70, 80] {
            let _ = table.store(1, &halves(leaf, leaf + 1));
        }
        reading.join().expect("the reader saw what it may see");
    });
}

/// What a published value was before it was dropped, and after.
struct Value(std::sync::Arc<loom::sync::atomic::AtomicU64>);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn value(number: u64) -> Value {
    Value(std::sync::Arc::new(AtomicU64::new(number)))
}

fn load(published: &Published<Value>, reader: &mut Reader) -> u64 {
    let section = reader.enter();
    published.load(section).expect("of the same domain").0.load(Ordering::Relaxed)
}

#[test]
fn a_published_value_is_whole_and_is_not_dropped_while_it_is_looked_at() {
    let _alone = ONE_AT_A_TIME.lock();
    loom::model(|| {
        let domain = Domain::new(1);
        let (mut publisher, published) = publish(&domain, value(1));
        let mut reader = domain.reader().expect("a slot");
        let reading = thread::spawn(move || {
            let mut last = 1;
            for round in 0..2 {
                let seen = load(&published, &mut reader);
                assert!(seen >= last, "{seen} after {last}");
                last = seen;
                if round == 0 {
                    reader.offline();
                }
            }
        });
        publisher.publish(value(2));
        publisher.reclaim();
        reading.join().expect("the reader saw what it may see");
    });
}
