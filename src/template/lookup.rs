//! Which file a template name refers to, for a part and a stacktype: the most specific one, in each directory
//! in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::TemplateError;
use super::builtin::BUILT_IN;
use super::parsed::ParsedOnce;
use crate::errors::AtPath;
use crate::name::Name;
use crate::roster::Identity;

/// The extension of every template file.
const ENDING: &str = ".hbs";

/// The maximum size of a template, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// How the directory of the built-in templates is shown.
const BUILT_IN_DIR: &str = "built-in:";

/// A template file.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateFile {
    /// Its name without `.hbs`, which is the name of the output file.
    pub name: String,
    /// Its location: a path, or `built-in:` and a path.
    pub path: String,
    /// The less specific files of the same name, the most specific first.
    pub shadowed: Vec<String>,
    origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
enum Origin {
    File(PathBuf),
    BuiltIn(&'static str),
}

impl TemplateFile {
    /// The template's text.
    pub fn read(&self) -> Result<String, TemplateError> {
        let path = match &self.origin {
            Origin::BuiltIn(text) => return Ok((*text).to_owned()),
            Origin::File(path) => path,
        };
        let mut bytes = Vec::new();
        let file = fs::File::open(path).at("read", path)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).at("read", path)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(TemplateError::TooLarge { path: path.clone(), max: MAX_BYTES });
        }
        String::from_utf8(bytes).map_err(|_| TemplateError::NotText(path.clone()))
    }
}

/// All templates for one part and stacktype.
#[derive(Debug)]
pub struct Lookup {
    /// The searched folders, the most specific first, each with its templates by name.
    places: Vec<BTreeMap<String, (String, Origin)>>,
    /// The templates that were used, if they are parsed once.
    parsed: Option<ParsedOnce>,
    /// The names of templates in folders of this part.
    of_part: BTreeSet<String>,
}

impl Lookup {
    /// Searches the directories in order, and then the built-in templates. A directory may be missing.
    pub fn new(dirs: &[PathBuf], who: &Identity) -> Result<Lookup, TemplateError> {
        let part = usable("the part", who.part.as_deref())?;
        let stacktype = usable("the stacktype", who.stacktype.as_deref())?;
        let mut places = Vec::new();
        let mut of_part = BTreeSet::new();
        for dir in dirs {
            let exists = |place: &str| dir.join(place).is_dir();
            for Place { folder, is_of_part } in folders(part, stacktype, exists) {
                let templates = read_folder(&dir.join(folder))?;
                of_part.extend(templates.keys().filter(|name| is_of_part && !name.contains('/')).cloned());
                places.push(templates);
            }
        }
        let built_in = |place: &str| BUILT_IN.iter().any(|(path, _)| path.starts_with(&format!("{place}/")));
        for place in folders(part, stacktype, built_in) {
            places.push(built_in_folder(&place.folder));
        }
        Ok(Lookup { places, of_part, parsed: None })
    }

    /// The same, but each template is read and parsed only when it is first used: for thousands of renderings with
    /// the templates of now.
    pub fn parsed_once(self) -> Lookup {
        Lookup { parsed: Some(ParsedOnce::default()), ..self }
    }

    /// Where parsed templates are kept, if they are.
    pub(super) fn kept(&self) -> Option<&ParsedOnce> {
        self.parsed.as_ref()
    }

    /// The names of the templates in the folders of this part, with or without its stacktype.
    pub fn of_part(&self) -> &BTreeSet<String> {
        &self.of_part
    }

    /// The template of a name, with or without its last extension.
    pub fn find(&self, name: &str) -> Result<TemplateFile, TemplateError> {
        Name::parse(name).map_err(|source| TemplateError::BadName { what: "the template's name", source })?;
        for place in &self.places {
            let candidates: Vec<&String> = if place.contains_key(name) {
                place.keys().filter(|known| *known == name).collect()
            } else {
                place.keys().filter(|known| without_extension(known) == Some(name)).collect()
            };
            match candidates[..] {
                [] => {}
                [whole] => return Ok(self.resolve(whole).expect("the name was just found")),
                _ => {
                    return Err(TemplateError::Ambiguous {
                        name: name.to_owned(),
                        candidates: candidates.into_iter().cloned().collect(),
                    });
                }
            }
        }
        Err(TemplateError::NotFound {
            name: name.to_owned(),
            known: self.names().map(str::to_owned).collect(),
        })
    }

    /// The template or partial of a name. Unlike a template, a partial may be in a folder: `haproxy/global`.
    pub fn find_partial(&self, name: &str) -> Result<TemplateFile, TemplateError> {
        match name.split_once('/') {
            None => self.find(name),
            Some((folder, rest)) => {
                for part in [folder, rest] {
                    Name::parse(part)
                        .map_err(|source| TemplateError::BadName { what: "the partial's name", source })?;
                }
                let known = || self.all_names().map(str::to_owned).collect();
                self.resolve(name)
                    .ok_or_else(|| TemplateError::NotFound { name: name.to_owned(), known: known() })
            }
        }
    }

    /// All templates and partials by name, each with the files that it outranks.
    pub fn all(&self) -> Vec<TemplateFile> {
        self.all_names().filter_map(|name| self.resolve(name)).collect()
    }

    /// Identifies all templates and their contents. `None` if one cannot be read. A built-in template is identified by its
    /// name only: its text is part of the program.
    pub fn digest(&self) -> Option<String> {
        let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
        let mut update = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        for found in self.all() {
            update(&found.name);
            update(&found.path);
            if let Origin::File(_) = found.origin {
                update(&found.read().ok()?);
            }
        }
        Some(format!("{:032x}", hash.digest128()))
    }

    /// The names of the templates, without the partials in folders.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.all_names().filter(|name| !name.contains('/'))
    }

    fn all_names(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self.places.iter().flatten().map(|(name, _)| name.as_str()).collect();
        names.into_iter()
    }

    fn resolve(&self, name: &str) -> Option<TemplateFile> {
        let mut found = self.places.iter().filter_map(|place| place.get(name));
        let (path, origin) = found.next()?.clone();
        Some(TemplateFile {
            name: name.to_owned(),
            path,
            shadowed: found.map(|(path, _)| path.clone()).collect(),
            origin,
        })
    }
}

fn usable<'a>(what: &'static str, name: Option<&'a str>) -> Result<Option<&'a str>, TemplateError> {
    if let Some(name) = name {
        Name::parse(name).map_err(|source| TemplateError::BadName { what, source })?;
    }
    Ok(name)
}

/// A folder of a template directory.
struct Place {
    folder: String,
    /// Whether its templates are for one part.
    is_of_part: bool,
}

/// The folders of one template directory, the most specific first. If a numbered part has no folder, the
/// folder of the part without its number is used: `app` for `app1`.
fn folders(part: Option<&str>, stacktype: Option<&str>, exists: impl Fn(&str) -> bool) -> Vec<Place> {
    let mut prefixes = vec![String::new()];
    if let Some(stacktype) = stacktype {
        prefixes.insert(0, format!("stacktype/{stacktype}/"));
    }
    let mut folders = Vec::new();
    for prefix in &prefixes {
        if let Some(part) = part {
            let own = format!("{prefix}part/{part}");
            let plain = part.trim_end_matches(|digit: char| digit.is_ascii_digit());
            let shared = format!("{prefix}part/{plain}");
            let folder = if !exists(&own) && !plain.is_empty() { shared } else { own };
            folders.push(Place { folder, is_of_part: true });
        }
        if !prefix.is_empty() {
            folders.push(Place { folder: prefix.trim_end_matches('/').to_owned(), is_of_part: false });
        }
    }
    folders.push(Place { folder: "common".to_owned(), is_of_part: false });
    folders
}

fn without_extension(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(stem, _)| stem)
}

/// The templates of a folder, and the partials in its folders.
fn read_folder(folder: &Path) -> Result<BTreeMap<String, (String, Origin)>, TemplateError> {
    let mut templates = BTreeMap::new();
    for path in read_into(folder, "", &mut templates)? {
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| Name::parse(name).is_ok());
        // These folders are for the templates of one part.
        if let Some(name) = name.filter(|name| *name != "part") {
            read_into(&path, &format!("{name}/"), &mut templates)?;
        }
    }
    Ok(templates)
}

/// Adds the templates of a folder, and returns its folders.
fn read_into(
    folder: &Path,
    prefix: &str,
    templates: &mut BTreeMap<String, (String, Origin)>,
) -> Result<Vec<PathBuf>, TemplateError> {
    let mut folders = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(folders);
        }
        Err(error) => return Err(error).at("read", folder).map_err(Into::into),
    };
    for entry in entries {
        let path = entry.at("read", folder)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
        if let Some(name) = name.filter(|name| !name.starts_with('.'))
            && path.is_file()
        {
            templates.insert(format!("{prefix}{name}"), (path.display().to_string(), Origin::File(path)));
        } else if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

fn built_in_folder(folder: &str) -> BTreeMap<String, (String, Origin)> {
    BUILT_IN
        .iter()
        .filter_map(|(path, text)| {
            let (parent, file) = path.rsplit_once('/')?;
            let name = file.strip_suffix(ENDING)?;
            (parent == folder)
                .then(|| (name.to_owned(), (format!("{BUILT_IN_DIR}{path}"), Origin::BuiltIn(text))))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(part: &str, stacktype: &str) -> Identity {
        Identity { part: Some(part.into()), stacktype: Some(stacktype.into()), deployment: None }
    }

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        dir
    }

    fn check(files: &[&str], part: &str, name: &str, expect: &str) {
        let dir = directory(files);
        let lookup = Lookup::new(&[dir.path().to_owned()], &who(part, "lad1")).unwrap();
        let found = lookup.find(name).unwrap();
        assert!(found.path.ends_with(expect), "{name} for {part}: {} is not {expect}", found.path);
    }

    #[test]
    fn the_most_specific_folder_wins() {
        let files = [
            "common/x.cfg.hbs",
            "part/app/x.cfg.hbs",
            "stacktype/lad1/x.cfg.hbs",
            "stacktype/lad1/part/app1/x.cfg.hbs",
        ];
        check(&files, "app1", "x", "stacktype/lad1/part/app1/x.cfg.hbs");
        check(&files[..3], "app1", "x", "stacktype/lad1/x.cfg.hbs");
        check(&files[..2], "app1", "x", "part/app/x.cfg.hbs");
        check(&files[..2], "db1", "x.cfg", "common/x.cfg.hbs");
        check(&["part/app1/y.hbs", "part/app/x.hbs", "common/x.hbs"], "app1", "x", "common/x.hbs");
        check(&["common/haproxy.cfg.hbs"], "lb1", "haproxy", "common/haproxy.cfg.hbs");
        check(&[], "lb1", "haproxy", "built-in:common/haproxy.cfg.hbs");
    }

    #[test]
    fn the_templates_of_a_part_are_those_in_its_folders() {
        let one = directory(&["common/a.hbs", "part/app/b.hbs", "stacktype/lad1/c.hbs"]);
        let two =
            directory(&["stacktype/lad1/part/app1/d.hbs", "stacktype/lad2/part/app1/e.hbs", "part/db/f.hbs"]);
        let dirs = [one.path().into(), two.path().into()];
        let lookup = Lookup::new(&dirs, &who("app1", "lad1")).unwrap();
        assert_eq!(lookup.of_part().iter().collect::<Vec<_>>(), ["b", "d"]);
        assert!(Lookup::new(&dirs, &Identity::default()).unwrap().of_part().is_empty());
    }

    #[test]
    fn an_earlier_directory_outranks_a_more_specific_folder() {
        let (one, two) =
            (directory(&["common/x.hbs"]), directory(&["part/app/x.hbs", "common/haproxy.cfg.hbs"]));
        let lookup = Lookup::new(&[one.path().into(), two.path().into()], &who("app1", "lad1")).unwrap();
        let found = lookup.find("x").unwrap();
        assert!(found.path.ends_with("common/x.hbs") && found.shadowed.len() == 1);
        let haproxy = lookup.find("haproxy.cfg").unwrap();
        assert_eq!(haproxy.shadowed, ["built-in:common/haproxy.cfg.hbs"]);
    }

    #[test]
    fn a_partial_may_be_in_a_folder() {
        let files = [
            "common/haproxy/global.hbs",
            "part/lb/haproxy/global.hbs",
            "part/lb/haproxy/backend.hbs",
            "stacktype/lad1/part/lb/x.hbs",
            "common/haproxy/deep/x.hbs",
        ];
        let dir = directory(&files);
        let lookup = Lookup::new(&[dir.path().to_owned()], &who("lb1", "lad1")).unwrap();
        let found = lookup.find_partial("haproxy/global").unwrap();
        assert!(found.path.ends_with("part/lb/haproxy/global.hbs") && found.shadowed.len() == 1);
        assert!(lookup.find("haproxy/global").is_err(), "it is not a template");
        assert_eq!(lookup.of_part().iter().collect::<Vec<_>>(), ["x"]);
        for missing in ["haproxy/x", "haproxy/deep/x", "part/x", "../x", "/x", "haproxy/"] {
            assert!(lookup.find_partial(missing).is_err(), "{missing}");
        }
        assert!(lookup.all().iter().any(|found| found.name == "haproxy/backend"));
        assert!(!lookup.find("none").unwrap_err().hint().unwrap().contains('/'));
    }

    #[test]
    fn a_name_that_is_not_one_template_is_an_error_with_help() {
        let lookup = Lookup::new(&[], &Identity::default()).unwrap();
        let error = lookup.find("database").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`database` could be any of database.env, database.properties, database.yml"
        );
        assert!(lookup.find("nginx").unwrap_err().hint().unwrap().contains("nginx-upstream.conf"));
        assert!(lookup.find("../x").is_err());
        assert!(Lookup::new(&[], &who("../x", "lad1")).is_err());
    }
}
