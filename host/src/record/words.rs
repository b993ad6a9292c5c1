//! What a run's journal says in words: its phases, notes, and what its workloads logged.

use std::path::Path;

use super::journal::{Damage, JOURNAL, Kind, RecordError, Records};
use crate::run::Happening;

/// Gives everything that happened to `each`, in order; where the journal stops to be whole, if it does.
pub fn happenings(
    folder: &Path,
    mut each: impl FnMut(Happening),
) -> Result<Option<Damage>, RecordError> {
    let mut records = Records::open(folder)?;
    while let Some(record) = records.next() {
        match record.kind {
            Kind::Suite => {
                let what = "it is a suite's; name one of the folders in it".to_owned();
                return Err(RecordError::TooLittle { path: folder.join(JOURNAL), what });
            }
            Kind::Event => match record.json() {
                Some(happening) => each(happening),
                None => records.doubt("a record cannot be read"),
            },
            _ => {}
        }
    }
    Ok(records.damage)
}
