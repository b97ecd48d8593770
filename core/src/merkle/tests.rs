//! Against the whole tree, computed from the bottom.

use super::*;
use crate::prng::Prng;
use std::vec;
use std::vec::Vec;

/// All levels, the root first.
fn levels(leaves: &[u64]) -> Vec<Vec<u64>> {
    let mut levels = vec![leaves.to_vec()];
    while levels[0].len() > 1 {
        let parents = levels[0].chunks(16).map(|children| {
            let bytes: Vec<u8> = children.iter().flat_map(|child| child.to_le_bytes()).collect();
            xxhash_rust::xxh3::xxh3_64(&bytes)
        });
        let parents = parents.collect();
        levels.insert(0, parents);
    }
    levels
}

fn check(leaves: &[u64]) {
    let (tree, levels) = (Tree::new(leaves), levels(leaves));
    assert_eq!(levels.len(), 4);
    assert_eq!(tree.root(), levels[0][0]);
    for level in 0..LEAF_LEVEL {
        for index in 0..node_count(level) {
            let children = &levels[usize::from(level) + 1][16 * index..16 * (index + 1)];
            assert_eq!(tree.children(level, index), children, "{level} {index}");
        }
    }
}

#[test]
fn every_node_is_that_of_the_whole_tree() {
    let mut prng = Prng::new(1);
    check(&[0; MERKLE_LEAF_COUNT]);
    for _ in 0..4 {
        let leaves: Vec<u64> = (0..MERKLE_LEAF_COUNT).map(|_| prng.next_u64()).collect();
        check(&leaves);
    }
}

#[test]
fn every_leaf_changes_its_own_ancestors_alone() {
    let mut leaves = vec![0; MERKLE_LEAF_COUNT];
    let before = levels(&leaves);
    for leaf in 0..MERKLE_LEAF_COUNT {
        leaves[leaf] = 1;
        let tree = Tree::new(&leaves);
        assert_ne!(tree.root(), before[0][0]);
        let mut index = 0;
        for level in 0..LEAF_LEVEL {
            let next = leaf / node_count(LEAF_LEVEL - 1 - level);
            let children = tree.children(level, index);
            for (child, hash) in children.into_iter().enumerate() {
                let node = 16 * index + child;
                let same = hash == before[usize::from(level) + 1][node];
                assert_eq!(same, node != next, "{leaf} {level}");
            }
            index = next;
        }
        leaves[leaf] = 0;
    }
}

#[test]
fn golden_root_is_stable() {
    let leaves: Vec<u64> = (0..MERKLE_LEAF_COUNT as u64).collect();
    assert_eq!(Tree::new(&leaves).root(), 0xaac4_a31a_b9d9_4b2f);
    assert_eq!(Tree::new(&[0; MERKLE_LEAF_COUNT]).root(), 0xd284_27c7_d841_fd5d);
}

#[test]
#[should_panic(expected = "leaves.len() == MERKLE_LEAF_COUNT")]
fn a_tree_has_all_its_leaves() {
    Tree::new(&[0; 16]);
}

#[test]
#[should_panic(expected = "level < LEAF_LEVEL")]
fn leaves_have_no_children() {
    Tree::new(&[0; MERKLE_LEAF_COUNT]).children(LEAF_LEVEL, 0);
}

#[test]
fn the_root_of_nothing_is_known() {
    assert_eq!(Tree::new(&[0; MERKLE_LEAF_COUNT]).root(), EMPTY_ROOT);
}
