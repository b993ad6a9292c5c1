//! Histograms as bytes that anybody may have written: `HdrHistogram`'s V2 of three digits, as it is or deflated.
//!
//! Its reader believes the header: it sets aside as many bytes as that says, and takes the negative of a
//! number that has none. So both are looked at before it.

use std::io::Read;

use flate2::read::ZlibDecoder;
use hdrhistogram::{Counter, Histogram, serialization::Deserializer};

/// The bytes before the counts: cookie, their length, offset, digits, lowest, highest, ratio.
const HEADER: usize = 40;
/// What the format begins with.
const PLAIN: [u8; 4] = [0x1c, 0x84, 0x93, 0x13];
/// What it begins with where all of it follows deflated, after its length in four bytes.
const DEFLATED: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
const DIGITS: [u8; 4] = [0, 0, 0, 3];
/// The one way to write the least number of 64 bits; no count, and no number of zeros.
const LEAST: [u8; 9] = [0xff; 9];
/// Bytes of a histogram: three digits over 64 bits take less.
const MOST: u64 = 1 << 20;

/// Reads a histogram, or says what is wrong with it.
pub fn read<T: Counter>(bytes: &[u8]) -> Result<Histogram<T>, &'static str> {
    let Some(deflated) = bytes.strip_prefix(&DEFLATED) else { return plain(bytes) };
    let mut whole = Vec::new();
    let inner = ZlibDecoder::new(deflated.get(4..).unwrap_or_default());
    inner.take(MOST).read_to_end(&mut whole).map_err(|_| "a histogram that is cut off")?;
    plain(&whole)
}

fn plain<T: Counter>(mut bytes: &[u8]) -> Result<Histogram<T>, &'static str> {
    let Some((header, counts)) = bytes.split_at_checked(HEADER) else {
        return Err("a histogram without its header");
    };
    if header[..4] != PLAIN {
        return Err("a histogram of another format");
    }
    if u32::try_from(counts.len()).map_or(true, |length| header[4..8] != length.to_be_bytes()) {
        return Err("a histogram of another length than it says");
    }
    if header[12..16] != DIGITS {
        return Err("a histogram of other than three digits");
    }
    if counts.windows(LEAST.len()).any(|it| it == LEAST) {
        return Err("a histogram that counts beyond all bounds");
    }
    Deserializer::new().deserialize(&mut bytes).map_err(|_| "a histogram that is none")
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, read::ZlibEncoder};
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};

    use super::*;

    fn written(mut serializer: impl Serializer) -> Vec<u8> {
        let mut histogram = Histogram::<u32>::new(3).unwrap();
        histogram.record_n(7, 3).unwrap();
        histogram.record(1 << 40).unwrap();
        let mut bytes = Vec::new();
        assert!(serializer.serialize(&histogram, &mut bytes).is_ok());
        bytes
    }

    fn refused(bytes: &[u8]) -> &'static str {
        // A histogram is too long to be shown.
        read::<u32>(bytes).map(|_| ()).unwrap_err()
    }

    #[test]
    fn what_was_written_is_read() {
        for bytes in [written(V2Serializer::new()), written(V2DeflateSerializer::new())] {
            let histogram = read::<u64>(&bytes).unwrap();
            assert_eq!((histogram.len(), histogram.count_at(7)), (4, 3));
        }
    }

    #[test]
    fn what_would_make_the_reader_panic_or_allocate_is_refused() {
        let good = written(V2Serializer::new());
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = good.clone();
            changed.splice(at..at + bytes.len(), bytes.iter().copied());
            changed
        };
        let mut least = [&good[..HEADER], &LEAST].concat();
        least[4..8].copy_from_slice(&9_u32.to_be_bytes());
        for (bytes, why) in [
            (good[..39].to_vec(), "without its header"),
            (with(0, &[0]), "another format"),
            (with(4, &[0xff; 4]), "another length"),
            ([good.clone(), vec![0]].concat(), "another length"),
            (with(15, &[5]), "three digits"),
            (with(24, &[0; 8]), "that is none"),
            (least, "beyond all bounds"),
        ] {
            assert!(refused(&bytes).contains(why), "{why}: {}", refused(&bytes));
            let mut deflated = [&DEFLATED[..], &[0; 4]].concat();
            let encoder = ZlibEncoder::new(&bytes[..], Compression::fast());
            encoder.take(MOST).read_to_end(&mut deflated).unwrap();
            assert!(refused(&deflated).contains(why), "{why}: {}", refused(&deflated));
        }
        assert!(refused(&DEFLATED).contains("cut off"));
        let deflated = written(V2DeflateSerializer::new());
        assert!(refused(&deflated[..deflated.len() - 9]).contains("cut off"));
    }
}
