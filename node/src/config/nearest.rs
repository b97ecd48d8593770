//! The known name nearest to a misspelled one.

/// The candidate with the smallest edit distance (Levenshtein 1966) to `name`; of several the
/// first. `None` only without candidates.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|candidate| distance(name, candidate))
}

/// Insertions, deletions and substitutions of characters that turn `a` into `b`.
/// Cost: the product of the lengths; `a` counts up to 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, by recursion.
    fn by_definition(a: &[char], b: &[char]) -> usize {
        match (a.split_first(), b.split_first()) {
            (None, _) => b.len(),
            (_, None) => a.len(),
            (Some((x, a_rest)), Some((y, b_rest))) => {
                let substitution = by_definition(a_rest, b_rest) + usize::from(x != y);
                let deletion = by_definition(a_rest, b) + 1;
                let insertion = by_definition(a, b_rest) + 1;
                substitution.min(deletion).min(insertion)
            }
        }
    }

    /// Every word of up to four of two letters.
    fn words() -> Vec<String> {
        (0..5u32)
            .flat_map(|length| (0..1 << length).map(move |bits: u32| (length, bits)))
            .map(|(length, bits)| {
                (0..length).map(|at| if bits >> at & 1 == 0 { 'a' } else { 'b' }).collect()
            })
            .collect()
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        let words = words();
        assert_eq!(words.len(), 31);
        for a in &words {
            for b in &words {
                let (x, y): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
                assert_eq!(distance(a, b), by_definition(&x, &y), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_nearest_is_found() {
        let known = ["port", "resp_port", "admin_port"];
        assert_eq!(nearest("resp-prot", known), Some("resp_port"));
        assert_eq!(nearest("prt", known), Some("port"));
        assert_eq!(nearest("x", []), None);
    }
}
