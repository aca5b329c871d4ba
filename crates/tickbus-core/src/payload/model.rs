//! Every interleaving and every legal reordering, under loom.

use loom::sync::Arc;
use loom::thread;

use super::*;

struct Memory {
    cells: Vec<AtomicU64>,
    tail: AtomicU64,
}

impl Memory {
    fn new() -> Arc<Memory> {
        Arc::new(Memory {
            cells: (0..4).map(|_| AtomicU64::new(0)).collect(),
            tail: AtomicU64::new(0),
        })
    }

    fn ring(&self) -> PayloadRing<'_> {
        PayloadRing::new(&self.cells, &self.tail)
    }
}

/// The tail alone, without the checksum, tells a reader that it was lapped while it copied.
#[test]
fn the_tail_moves_before_bytes_do() {
    loom::model(|| {
        let memory = Memory::new();
        memory.ring().write(b"first").unwrap();
        let writer = {
            let memory = memory.clone();
            thread::spawn(move || {
                memory.ring().write(b"second").unwrap();
                memory.ring().write(b"third").unwrap();
            })
        };

        if let Some((header, bytes)) = memory.ring().copy(0, 2) {
            assert_eq!(bytes, b"first\0\0\0");
            assert_eq!(header, checksum(0, b"first"));
        }

        writer.join().unwrap();
    });
}

/// Two writers a lap apart in the same cells, copying in any order: a reader gets its own bytes or
/// `Overwritten`, and always its bytes when nobody else claimed their cells.
#[test]
fn writers_that_share_cells_are_told_apart() {
    loom::model(|| {
        let memory = Memory::new();
        let writer = {
            let memory = memory.clone();
            thread::spawn(move || {
                let reference = memory.ring().write(b"one").unwrap();
                (reference, memory.ring().read(reference))
            })
        };
        memory.ring().write(b"filler").unwrap();
        let reference = memory.ring().write(b"two").unwrap();
        let before = memory.ring().read(reference);
        let (other, others) = writer.join().unwrap();
        let after = memory.ring().read(reference);

        // Three payloads of two words in four cells: the first and the last claim share theirs.
        for (reference, result, wrote) in [
            (reference, before, b"two"),
            (reference, after, b"two"),
            (other, others, b"one"),
        ] {
            match result {
                Ok(bytes) => assert_eq!(bytes, wrote),
                Err(error) => {
                    assert_eq!(error, PayloadError::Overwritten);
                    assert_ne!(reference & POSITION_MASK, 2);
                }
            }
        }
    });
}
