//! Files as a tar, the same bytes for the same files.

use std::io::{Result, Write};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// What an archive says of the system that made it: 255 is "unknown" (RFC 1952, section 2.3.1).
const NO_SYSTEM: u8 = 255;

/// The tar of these files, of root and of 1970, in the order given. The archive has no entry for a folder.
pub fn tar<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(u64::try_from(bytes.len()).map_err(std::io::Error::other)?);
        archive.append_data(&mut header, path, bytes)?;
    }
    archive.into_inner()
}

/// The bytes compressed, without a time and without the name of a system.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let header = GzBuilder::new().mtime(0).operating_system(NO_SYSTEM);
    let mut encoder = header.write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
