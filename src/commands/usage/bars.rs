//! Bars made of blocks.

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const WIDTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
/// Nothing at all: so that it is seen where a day is.
const NONE: char = '·';
/// How long the longest lying bar is.
const LENGTH: u64 = 20;

/// One standing bar each; the highest is whole.
pub(super) fn standing(counts: &[u64]) -> String {
    let most = counts.iter().copied().max().unwrap_or_default();
    let bar = |count: &u64| match eighths(*count, most, 1) {
        0 => NONE,
        eighths => LEVELS[eighths - 1],
    };
    counts.iter().map(bar).collect()
}

/// A lying bar for `count`, where that of `most` is [`LENGTH`] blocks long.
pub(super) fn lying(count: u64, most: u64) -> String {
    let eighths = eighths(count, most, LENGTH);
    let mut bar = "█".repeat(eighths / 8);
    match eighths % 8 {
        0 if eighths == 0 => bar.push(NONE),
        0 => {}
        rest => bar.push(WIDTHS[rest - 1]),
    }
    bar
}

/// Of `blocks` whole ones, in proportion; what is there at all has one.
fn eighths(count: u64, most: u64, blocks: u64) -> usize {
    let scaled = u128::from(count) * u128::from(blocks * 8) / u128::from(most.max(1));
    usize::try_from(scaled.max(u128::from(count > 0))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_nothing_is_not_little() {
        assert_eq!(standing(&[0, 1, 50, 100, 800]), "·▁▁▁█");
        assert_eq!(standing(&[1, 2, 3, 4, 5, 6, 7, 8]), "▁▂▃▄▅▆▇█");
        assert_eq!(standing(&[0, 0]), "··");
        assert_eq!(standing(&[u64::MAX]), "█");
        assert_eq!(lying(0, 10), "·");
        assert_eq!(lying(1, 1_000_000), "▏");
        assert_eq!(lying(10, 10), "█".repeat(20));
        assert_eq!(lying(5, 10), "█".repeat(10));
        assert_eq!(lying(33, 100), "██████▌");
    }
}
