//! Compaction in a store: what leaves, and what does not change by it.

use super::*;

fn entries(store: &Store) -> Vec<(u32, u64)> {
    let stored = store.record(&key(b"k")).unwrap().unwrap();
    let dots = stored.record.version_vector().iter();
    dots.map(|dot| (dot.actor().node().0, dot.actor().boot().0)).collect()
}

/// A store in which node 1 has written in three lives, and node 2 in one.
fn written() -> Store {
    let mut store = Store::default();
    for (node, boot) in [(1, 1), (1, 2), (2, 5), (1, 3)] {
        put(&mut store, author(node, boot, 1), &write(Context::Local, b"value")).unwrap();
    }
    store
}

#[test]
fn entries_leave_and_the_version_stays() {
    let mut store = written();
    let before = store.record(&key(b"k")).unwrap().unwrap().record.version(&key(b"k"));
    let spent = store.record(&key(b"k")).unwrap().unwrap().record.spent();
    assert_eq!(spent.len(), 2);
    assert_eq!(mine(&store), Some((1, 3, 1)));
    let place = compact(&mut store, &key(b"k"), &spent).unwrap().unwrap();
    store.check_leaves(key);
    let stored = store.record(&key(b"k")).unwrap().unwrap();
    assert_eq!((stored.place, stored.record.version(&key(b"k"))), (place, before));
    assert_eq!(entries(&store), [(1, 3), (2, 5)]);
    assert_eq!(mine(&store), Some((1, 3, 1)), "the running life goes on where it was");
    // The next write extends its actor, as if nothing had been.
    let applied = put(&mut store, author(1, 3, 2), &write(Context::Local, b"next")).unwrap();
    assert!(!applied.minted && applied.sole && applied.entries == 2);
    // There is nothing more to drop.
    let before = store.clone();
    assert_eq!(compact(&mut store, &key(b"k"), &spent), Ok(None));
    assert_eq!(compact(&mut store, &key(b"none"), &spent), Ok(None));
    assert_eq!(store, before);
}

#[test]
fn what_is_not_spent_here_stays() {
    let mut store = written();
    let all: Vec<Dot> = {
        let stored = store.record(&key(b"k")).unwrap().unwrap();
        stored.record.version_vector().iter().collect()
    };
    // The last write is a sibling; of an actor that wrote more here, the entry is another.
    let more: Vec<Dot> = all.iter().map(|dot| Dot::new(dot.actor(), 2)).collect();
    assert_eq!(compact(&mut store, &key(b"k"), &more), Ok(None));
    compact(&mut store, &key(b"k"), &all).unwrap().unwrap();
    assert_eq!(entries(&store), [(1, 3)]);
}
