//! Contents that tell whether they are what their sender wrote: sender, number, checksum.

/// What the `n`-th message of a sender says, in so many characters at least. Some are long, so that frames differ in size.
pub fn write(sender: usize, n: u64, length: usize) -> String {
    let filler = "x".repeat(length.max(if n.is_multiple_of(97) { 4_000 } else { (n % 50) as usize }));
    format!("{sender}:{n}:{:08x}:{filler}", checksum(sender, n, &filler))
}

/// Who wrote it and its number; none when it was not written like this.
pub fn read(content: &str) -> Option<(usize, u64)> {
    let mut parts = content.splitn(4, ':');
    let (sender, n) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (sum, filler) = (parts.next()?, parts.next()?);
    (content == format!("{sender}:{n}:{sum}:{filler}") && sum == format!("{:08x}", checksum(sender, n, filler)))
        .then_some((sender, n))
}

/// FNV-1a.
fn checksum(sender: usize, n: u64, filler: &str) -> u32 {
    let text = format!("{sender} {n} {filler}");
    text.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_was_written() {
        let content = write(3, 97, 10);
        assert_eq!(read(&content), Some((3, 97)));
        let (shorter, other) = (&content[..content.len() - 1], content.replacen("97", "98", 1));
        for other in [&content[1..], shorter, &other, "", "3:97", &format!("{content}x"), &format!("0{content}")] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
