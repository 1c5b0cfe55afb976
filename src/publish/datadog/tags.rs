//! Tags as Datadog keeps them.

/// Characters of a tag that Datadog keeps; it cuts the rest off.
const TAG_CHARS_MAX: usize = 200;

/// Returns what becomes of a tag: small letters, and an underscore for every character that it has no
/// place for.
pub(crate) fn datadog_tag(tag: &str) -> String {
    let kept = |c: char| {
        if c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '.' | '/') {
            c
        } else {
            '_'
        }
    };
    let small = tag.chars().flat_map(char::to_lowercase);
    small.map(kept).take(TAG_CHARS_MAX).collect()
}
