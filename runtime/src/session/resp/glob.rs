//! Patterns as in Redis: `*`, `?`, `[a-c]`, `[^a]`, `\x`.
//!
//! One `*` is remembered at a time, so the cost is at most pattern × text, never exponential.

/// Whether `pattern` matches the whole of `text`. ASCII letters match in any case.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_folded(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// The same, but letters match in their own case alone.
pub(super) fn matches_exactly(pattern: &[u8], text: &[u8]) -> bool {
    matches_folded(pattern, text, |byte| byte)
}

/// Bytes are alike that `fold` makes equal.
fn matches_folded(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    let mut star = None;
    loop {
        let rest = &pattern[pattern_at..];
        if rest.first() == Some(&b'*') {
            star = Some((pattern_at + 1, text_at));
            pattern_at += 1;
            continue;
        }
        if text_at == text.len() && rest.is_empty() {
            return true;
        }
        if text_at < text.len()
            && let Some(bytes) = match_one(rest, text[text_at], fold)
        {
            pattern_at += bytes;
            text_at += 1;
            continue;
        }
        // Let the last star take one byte more.
        match star {
            Some((after, taken)) if taken < text.len() => {
                star = Some((after, taken + 1));
                (pattern_at, text_at) = (after, taken + 1);
            }
            _ => return false,
        }
    }
}

/// How many bytes of `pattern` stand for the one `byte`; `None` if they do not match it.
fn match_one(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<usize> {
    let is_same = |other| fold(other) == fold(byte);
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => is_same(escaped).then_some(2),
        [b'[', ref class @ ..] => {
            let (found, bytes) = match_class(class, byte, fold);
            found.then_some(1 + bytes)
        }
        [first, ..] => is_same(first).then_some(1),
    }
}

/// Whether the class, given from behind its `[`, holds `byte`, and where it ends: behind its
/// `]`, or at the end of the pattern when that is missing.
fn match_class(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, usize) {
    let byte = fold(byte);
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        let (from, to, bytes) = match class[at..] {
            [] => return (found != negated, at),
            [b']', ..] => return (found != negated, at + 1),
            [b'\\', escaped, ..] => (escaped, escaped, 2),
            [from, b'-', to, ..] => (from.min(to), from.max(to), 3),
            [only, ..] => (only, only, 1),
        };
        let range = fold(from)..=fold(to);
        found |= range.contains(&byte);
        at += bytes;
    }
}
