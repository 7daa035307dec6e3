//! The order of cells within blocks: Williams squares, so that no cell profits from what runs before it.

use rand::seq::SliceRandom;

use crate::seed;

/// Orders `items` cells in `blocks` blocks. Each block holds every item once. Over `items` blocks (twice as many for an
/// odd number) every item follows every other equally often: a square by E. J. Williams, "Experimental designs balanced
/// for the estimation of residual effects of treatments" (1949), with its rows shuffled and its items renamed for each
/// such group of blocks. Fewer blocks hold a random part of a square.
pub(crate) fn williams(items: u32, blocks: u32, seed: u64) -> Vec<Vec<u32>> {
    if items == 0 {
        return vec![Vec::new(); blocks as usize];
    }
    let square = square(items);
    let mut all = Vec::with_capacity(blocks as usize);
    for group in 0.. {
        let mut random = seed::stream(seed, "order", group);
        let mut names: Vec<u32> = (0..items).collect();
        names.shuffle(&mut random);
        let mut rows = square.clone();
        rows.shuffle(&mut random);
        for row in rows {
            if all.len() == blocks as usize {
                return all;
            }
            all.push(row.iter().map(|item| names[*item as usize]).collect());
        }
    }
    unreachable!("a square has at least one row")
}

/// Returns the rows 0, 1, n-1, 2, n-2, … shifted by 0 to n-1; for an odd n the same rows reversed, too.
fn square(items: u32) -> Vec<Vec<u32>> {
    let first: Vec<u32> = (0..items)
        .map(|place| match place {
            0 => 0,
            odd if odd % 2 == 1 => odd.div_ceil(2),
            even => items - even / 2,
        })
        .collect();
    let mut rows: Vec<Vec<u32>> = (0..items)
        .map(|shift| first.iter().map(|item| (item + shift) % items).collect())
        .collect();
    if items % 2 == 1 {
        let reversed: Vec<Vec<u32>> = rows
            .iter()
            .map(|row| row.iter().rev().copied().collect())
            .collect();
        rows.extend(reversed);
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_item_follows_every_other_equally_often() {
        for items in 2..=9u32 {
            let rows = if items % 2 == 1 { items * 2 } else { items };
            let blocks = williams(items, rows * 2, 7);
            let mut follows: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            for row in &blocks {
                let mut sorted = row.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..items).collect::<Vec<_>>());
                for pair in row.windows(2) {
                    *follows.entry((pair[0], pair[1])).or_default() += 1;
                }
            }
            let each = if items % 2 == 1 { 4 } else { 2 };
            assert_eq!(follows.len(), (items * (items - 1)) as usize);
            assert!(follows.values().all(|count| *count == each), "{items}");
        }
    }

    #[test]
    fn orders_follow_the_seed() {
        assert_eq!(williams(5, 8, 1), williams(5, 8, 1));
        assert_ne!(williams(5, 8, 1), williams(5, 8, 2));
        assert_eq!(williams(1, 3, 1), [[0], [0], [0]]);
        assert!(williams(0, 1, 1)[0].is_empty());
    }
}
