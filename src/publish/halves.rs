//! Divides what was refused, between two series where that goes.

/// Returns how many items the first half has; 0 if they cannot be divided. Items of one series stand together, and
/// have equal keys. The cut is between two series if there are two, the one that is nearest to the middle.
pub(super) fn middle<K: Eq>(keys: &[K]) -> usize {
    let middle = keys.len() / 2;
    let is_cut = |at: &usize| keys[*at] != keys[at - 1];
    let before = (1..=middle).rev().find(is_cut);
    let behind = (middle.max(1)..keys.len()).find(is_cut);
    match (before, behind) {
        (Some(before), Some(behind)) if middle - before <= behind - middle => before,
        (_, Some(behind)) => behind,
        (Some(before), None) => before,
        (None, None) => middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_between_series_or_else_in_the_middle() {
        for (keys, cut) in [
            ("", 0),
            ("a", 0),
            ("aa", 1),
            ("ab", 1),
            ("aaaaa", 2),
            ("abbbbb", 1),
            ("aaaaab", 5),
            ("aaabbbbb", 3),
            ("aaaaabbb", 5),
            ("abcdef", 3),
            ("abbbbc", 1),
        ] {
            let keys: Vec<char> = keys.chars().collect();
            assert_eq!(middle(&keys), cut, "{keys:?}");
        }
    }
}
