//! The folder as a git tree: read it, and make the tree that differs by one node.

use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, ObjectType, Oid, Repository, Tree};

use crate::name::Name;
use crate::record::MAX_BYTES;
use crate::store::directory::MAX_DEPTH;
use crate::store::error::Doing;
use crate::store::{File, FileProblem, Folder, Snapshot, StoreErrorKind, text_of};

const LINK: i32 = 0o120_000;

/// The content of the file at `path`; none if there is no plain file of bearable size.
pub(super) fn blob(
    repo: &Repository,
    tree: Option<&Tree<'_>>,
    path: &str,
) -> Result<Option<Vec<u8>>, StoreErrorKind> {
    let Some(tree) = tree else { return Ok(None) };
    let entry = match tree.get_path(path.as_ref()) {
        Ok(entry) => entry,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(error).doing("read the tree"),
    };
    if entry.kind() != Some(ObjectType::Blob) || entry.filemode() == LINK {
        return Ok(None);
    }
    let (size, _) = repo.odb().and_then(|odb| odb.read_header(entry.id())).doing("read a record")?;
    if size > MAX_BYTES {
        return Ok(None);
    }
    Ok(Some(repo.find_blob(entry.id()).doing("read a record")?.content().to_owned()))
}

/// The tree with this file in it.
pub(super) fn with_file(
    repo: &Repository,
    base: Option<&Tree<'_>>,
    path: &str,
    bytes: &[u8],
) -> Result<Oid, StoreErrorKind> {
    let blob = repo.blob(bytes).doing("write the record")?;
    let mut update = TreeUpdateBuilder::new();
    update.upsert(path, blob, FileMode::Blob);
    create(repo, base, &mut update)
}

/// The tree without any file of this node in the folder or below it; none if there is no such file.
pub(super) fn without_node(
    repo: &Repository,
    base: Option<&Tree<'_>>,
    folder: &Folder,
    id: &Name,
) -> Result<Option<Oid>, StoreErrorKind> {
    let wanted = format!("{id}.json");
    let mut update = TreeUpdateBuilder::new();
    let mut found = false;
    if let Some((base, start)) = base.and_then(|base| Some((base, folder_tree(repo, base, folder)?))) {
        visit(repo, &start, "", 0, &mut |path, _| {
            if path.rsplit('/').next() == Some(&wanted) {
                update.remove(format!("{folder}/{path}"));
                found = true;
            }
        })
        .doing("read the tree")?;
        if found {
            return create(repo, Some(base), &mut update).map(Some);
        }
    }
    Ok(None)
}

fn create(
    repo: &Repository,
    base: Option<&Tree<'_>>,
    update: &mut TreeUpdateBuilder,
) -> Result<Oid, StoreErrorKind> {
    let empty;
    let base = match base {
        Some(base) => base,
        None => {
            let oid =
                repo.treebuilder(None).and_then(|builder| builder.write()).doing("write an empty tree")?;
            empty = repo.find_tree(oid).doing("write an empty tree")?;
            &empty
        }
    };
    update.create_updated(repo, base).doing("write the new tree")
}

/// All files of the folder at that commit. The version is the folder's own tree: other folders do not change it.
pub(super) fn snapshot(
    repo: &Repository,
    tip: Option<Oid>,
    folder: &Folder,
) -> Result<Snapshot, StoreErrorKind> {
    let mut snapshot = Snapshot { version: "empty".into(), ..Snapshot::default() };
    let Some(tip) = tip else { return Ok(snapshot) };
    let root = repo.find_commit(tip).and_then(|commit| commit.tree()).doing("read the tree")?;
    let Some(tree) = folder_tree(repo, &root, folder) else { return Ok(snapshot) };
    snapshot.version = tree.id().to_string();
    let mut found = Vec::new();
    visit(repo, &tree, "", 0, &mut |path, entry| found.push((path, entry.id(), entry.filemode() == LINK)))
        .doing("read the tree")?;
    let odb = repo.odb().doing("open the object database")?;
    for (path, oid, link) in found {
        let text = if link {
            Err("is a link, and links are not followed".to_owned())
        } else {
            match odb.read_header(oid) {
                Ok((size, _)) if size > MAX_BYTES => {
                    Err(format!("is {size} bytes, more than the {MAX_BYTES} that a record may have"))
                }
                Ok(_) => odb
                    .read(oid)
                    .map_err(|error| format!("cannot be read: {}", error.message()))
                    .and_then(|object| text_of(object.data().to_vec())),
                Err(error) => Err(format!("cannot be read: {}", error.message())),
            }
        };
        match text {
            Ok(text) => snapshot.files.push(File { path, text }),
            Err(reason) => snapshot.problems.push(FileProblem { path, reason }),
        }
    }
    Ok(snapshot)
}

fn folder_tree<'repo>(repo: &'repo Repository, root: &Tree<'repo>, folder: &Folder) -> Option<Tree<'repo>> {
    let entry = root.get_path(folder.as_ref().as_ref()).ok()?;
    (entry.kind() == Some(ObjectType::Tree)).then(|| repo.find_tree(entry.id()).ok()).flatten()
}

/// Calls `seen` for every `*.json` below the tree that is a file or a link, in the order of the paths.
fn visit(
    repo: &Repository,
    tree: &Tree<'_>,
    prefix: &str,
    depth: usize,
    seen: &mut dyn FnMut(String, &git2::TreeEntry<'_>),
) -> Result<(), git2::Error> {
    for entry in tree {
        let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
        if name.starts_with('.') {
            continue;
        }
        match entry.kind() {
            Some(ObjectType::Tree) if depth < MAX_DEPTH => {
                visit(repo, &repo.find_tree(entry.id())?, &format!("{prefix}{name}/"), depth + 1, seen)?;
            }
            Some(ObjectType::Blob) if name.ends_with(".json") => seen(format!("{prefix}{name}"), &entry),
            _ => {}
        }
    }
    Ok(())
}
