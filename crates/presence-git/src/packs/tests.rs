use std::path::PathBuf;

use git2::{Oid, Repository};

use super::*;

/// The largest blob to read, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A pack of many blobs of the same length, most of them deltas, and one blob that is too large.
struct Fixture {
    _dir: tempfile::TempDir,
    packs: PathBuf,
    blobs: Vec<(Oid, Vec<u8>)>,
}

fn fixture(count: usize) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::init_bare(dir.path()).unwrap();
    let packs = dir.path().join("objects/pack");
    let mut builder = repo.packbuilder().unwrap();
    builder.set_threads(1);
    let mut blobs: Vec<(Oid, Vec<u8>)> = Vec::new();
    let mut add = |bytes: Vec<u8>| {
        let oid = repo.blob(&bytes).unwrap();
        builder.insert_object(oid, Some("same")).unwrap();
        blobs.push((oid, bytes));
    };
    for number in 0..count {
        let noise: String =
            (0..20).map(|n| format!("{:08x}", (number / 7 + n) * 2_654_435_761 % 4_294_967_291)).collect();
        add(format!("{noise}{number:08}{noise}").into_bytes());
    }
    add((0..MAX_BYTES + 1).map(|n| (n % 7) as u8).collect());
    builder.write(&packs, 0o600).unwrap();
    Fixture { _dir: dir, packs, blobs }
}

impl Fixture {
    /// Reads each blob in the order of offsets and verifies it. Returns how many could be read.
    #[track_caller]
    fn check(&self, what: &str) -> usize {
        let whole = self.check_by(MAX_WHOLE, what);
        assert_eq!(self.check_by(0, what), whole, "{what}: a part at a time");
        whole
    }

    fn check_by(&self, most: u64, what: &str) -> usize {
        let Some(pack) = Pack::all(&self.packs).into_iter().next() else { return 0 };
        let mut places: Vec<(EntryOffset, &Vec<u8>)> =
            self.blobs.iter().filter_map(|(oid, bytes)| Some((pack.find(oid.as_bytes())?, bytes))).collect();
        places.sort_by_key(|(place, _)| place.offset);
        let mut reader = pack.reader(MAX_BYTES, most);
        let mut right = 0;
        for (place, bytes) in places {
            match reader.read(place) {
                Some(Content::Blob(read)) => assert!(read == bytes, "{what}: at {}", place.offset),
                Some(Content::TooLarge(size)) => assert_eq!(size, bytes.len(), "{what}: at {}", place.offset),
                None => continue,
            }
            right += 1;
        }
        right
    }

    fn file(&self, extension: &str) -> PathBuf {
        let mut files = fs::read_dir(&self.packs).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|found| found == extension)).unwrap()
    }

    /// Changes every byte of a file in turn, or every `step`th, and truncates it at several lengths.
    fn damage(&self, extension: &str, step: usize) {
        let path = self.file(extension);
        let whole = fs::read(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        for at in (0..whole.len()).step_by(step) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            self.check(&format!("{extension} damaged at {at}"));
        }
        for length in (0..whole.len()).step_by(step * 13 + 1) {
            fs::write(&path, &whole[..length]).unwrap();
            self.check(&format!("{extension} cut at {length}"));
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn all_blobs_are_read_in_any_order() {
    let fixture = fixture(500);
    assert_eq!(fixture.check("whole"), fixture.blobs.len());
    let pack = &Pack::all(&fixture.packs)[0];
    for mut reader in [pack.reader(MAX_BYTES, MAX_WHOLE), pack.reader(MAX_BYTES, 0)] {
        for (oid, bytes) in fixture.blobs.iter().rev() {
            let place = pack.find(oid.as_bytes()).unwrap();
            match reader.read(place) {
                Some(Content::Blob(read)) => assert!(read == bytes),
                Some(Content::TooLarge(size)) => assert_eq!(size, bytes.len()),
                None => panic!("{oid} cannot be read"),
            }
        }
    }
    assert!(pack.find(&[0x77; 20]).is_none());
}

#[test]
fn a_damaged_pack_gives_nothing_rather_than_something_wrong() {
    let fixture = fixture(60);
    fixture.damage("pack", 3);
    fixture.damage("idx", 5);
    assert_eq!(fixture.check("repaired"), fixture.blobs.len());
}

#[test]
fn an_index_larger_than_its_objects_need_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pack-1.idx"), b"\xfftOc\0\0\0\x02").unwrap();
    let index = File::options().write(true).open(dir.path().join("pack-1.idx")).unwrap();
    index.set_len(8 << 30).unwrap();
    std::fs::write(dir.path().join("pack-1.pack"), "PACK").unwrap();
    assert!(Pack::open(&dir.path().join("pack-1.idx"), MAX_INDEX).is_none());
    assert!(Pack::all(dir.path()).is_empty());
}
