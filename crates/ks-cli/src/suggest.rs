//! What a misspelt name may have meant.

/// The candidate closest to `word`, if one is close enough to be what was meant.
pub(crate) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    /// Longer words are no typing mistakes, and cost time with the square of their length.
    const LONGEST_CHARS: usize = 100;
    let word: Vec<char> = word.chars().take(LONGEST_CHARS).flat_map(char::to_lowercase).collect();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other: Vec<char> = candidate.chars().take(LONGEST_CHARS).flat_map(char::to_lowercase).collect();
            let distance = distance(&word, &other);
            let is_part = word.len() >= 3 && (contains(&other, &word) || contains(&word, &other));
            let is_close = distance <= (word.len().max(other.len()) / 3).max(1);
            (is_close || is_part).then_some((if is_part { distance.min(2) } else { distance }, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or nothing.
pub(crate) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    closest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

fn contains(text: &[char], part: &[char]) -> bool {
    part.len() >= 3 && text.windows(part.len()).any(|window| window == part)
}

/// Insertions, deletions, replacements and swaps of neighbours from one word to the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &to) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["test-camera", "test-microphone", "wav-reader", "wav-writer"];

    #[test]
    fn a_misspelt_name_finds_its_right_form() {
        for (word, right) in [
            ("test-camra", "test-camera"),
            ("test-cmaera", "test-camera"),
            ("TestCamera", "test-camera"),
            ("camera", "test-camera"),
            ("wav-reeder", "wav-reader"),
            ("wav-writter", "wav-writer"),
            ("microphone", "test-microphone"),
        ] {
            assert_eq!(closest(word, NAMES), Some(right), "{word}");
        }
    }

    #[test]
    fn a_name_that_is_like_none_finds_none() {
        assert_eq!(closest("gstreamer", NAMES), None);
        assert_eq!(closest("", NAMES), None);
        assert_eq!(closest("x", []), None);
        assert_eq!(did_you_mean("test-camra", NAMES).as_deref(), Some("did you mean `test-camera`?"));
    }
}
