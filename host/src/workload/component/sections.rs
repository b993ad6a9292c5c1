//! The outermost sections of a component, as bytes: what its author says of it in custom sections, and
//! the names of its exports. Nothing is decoded beyond that, and nothing inside the sections is moved.

/// A custom section's id, and that of a component's exports.
const CUSTOM: u8 = 0;
const EXPORTS: u8 = 11;
/// Magic and version.
const HEAD: usize = 8;
/// Bytes of one value that are read; more is somebody's joke.
const LONGEST: usize = 4_096;

/// What a component's author says of it. Told, never believed: nothing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The plugin's name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Who wrote it.
    pub authors: Option<String>,
    /// An SPDX expression.
    pub licences: Option<String>,
    /// Where its source is.
    pub source: Option<String>,
}

impl Provenance {
    /// The custom sections that hold it, by the names that WebAssembly's tools and OCI registries use.
    fn fields(&self) -> [(&'static str, &Option<String>); 5] {
        [
            ("version", &self.version),
            ("description", &self.description),
            ("authors", &self.authors),
            ("licenses", &self.licences),
            ("source", &self.source),
        ]
    }

    /// As pairs, for people: those that are there.
    pub fn list(&self) -> Vec<(&'static str, &str)> {
        let name = [("name", &self.name)];
        let all = name.into_iter().chain(self.fields());
        all.filter_map(|(key, value)| Some((key, value.as_deref()?))).collect()
    }

    /// The component with it; what it said of itself before is replaced.
    pub fn write(&self, component: &[u8]) -> Vec<u8> {
        let fields = self.fields();
        let ours = |name: &str| {
            fields.iter().any(|(key, value)| *key == name && value.is_some())
                || (name == "component-name" && self.name.is_some())
        };
        let mut whole = component.get(..HEAD).unwrap_or(component).to_vec();
        for section in Sections::of(component) {
            if !(section.id == CUSTOM && custom(section.body).is_some_and(|(name, _)| ours(name))) {
                whole.extend_from_slice(section.whole);
            }
        }
        if let Some(name) = &self.name {
            let mut named = Vec::new();
            put(&mut named, name.as_bytes());
            // Subsection 0: the component's own name.
            let mut body = vec![0];
            put(&mut body, &named);
            append(&mut whole, "component-name", &body);
        }
        for (key, value) in fields {
            if let Some(value) = value {
                append(&mut whole, key, value.as_bytes());
            }
        }
        whole
    }

    /// What a component says of itself.
    pub fn read(component: &[u8]) -> Self {
        let mut told = Self::default();
        for section in Sections::of(component).filter(|section| section.id == CUSTOM) {
            let Some((name, body)) = custom(section.body) else { continue };
            let text = |bytes: &[u8]| {
                (bytes.len() <= LONGEST).then(|| String::from_utf8_lossy(bytes).into_owned())
            };
            match name {
                "version" => told.version = text(body),
                "description" => told.description = text(body),
                "authors" => told.authors = text(body),
                "licenses" => told.licences = text(body),
                "source" => told.source = text(body),
                "component-name" => {
                    let own = body.split_first().filter(|(id, _)| **id == 0);
                    let named = own.and_then(|(_, rest)| take(rest)).and_then(|(it, _)| take(it));
                    told.name = named.and_then(|(name, _)| text(name));
                }
                _ => {}
            }
        }
        told
    }
}

/// The component with two exports' names exchanged, which are of one length; `None` if one is missing.
pub fn exchange_exports(component: &[u8], one: &str, other: &str) -> Option<Vec<u8>> {
    let mut whole = component.to_vec();
    let (mut first, mut second) = (None, None);
    for section in Sections::of(component).filter(|section| section.id == EXPORTS) {
        // One export a section, as WebAssembly's tools write them: count, form of the name, name, the rest.
        let Some(name) = section.body.get(2..).and_then(take).map(|(name, _)| name) else {
            continue;
        };
        let place = offset(component, name);
        first = first.or((name == one.as_bytes()).then_some(place));
        second = second.or((name == other.as_bytes()).then_some(place));
    }
    let (first, second) = (first?, second?);
    whole.get_mut(first..first + one.len())?.copy_from_slice(other.as_bytes());
    whole.get_mut(second..second + other.len())?.copy_from_slice(one.as_bytes());
    Some(whole)
}

/// Where a part of the bytes is.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

struct Section<'a> {
    id: u8,
    body: &'a [u8],
    whole: &'a [u8],
}

struct Sections<'a>(&'a [u8]);

impl<'a> Sections<'a> {
    fn of(component: &'a [u8]) -> Self {
        Self(component.get(HEAD..).unwrap_or_default())
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Section<'a>;

    fn next(&mut self) -> Option<Section<'a>> {
        let (&id, after) = self.0.split_first()?;
        let (body, rest) = take(after)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Section { id, body, whole })
    }
}

/// Bytes with their length before them, and what follows.
fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = super::anatomy::leb(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn custom(body: &[u8]) -> Option<(&str, &[u8])> {
    let (name, rest) = take(body)?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

fn append(whole: &mut Vec<u8>, name: &str, body: &[u8]) {
    let mut section = Vec::new();
    put(&mut section, name.as_bytes());
    section.extend_from_slice(body);
    whole.push(CUSTOM);
    put(whole, &section);
}

/// Bytes with their length before them, in LEB128.
fn put(whole: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes.len();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            whole.push(low);
            break;
        }
        whole.push(low | 0x80);
    }
    whole.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn told() -> Provenance {
        Provenance {
            name: Some("first".to_owned()),
            version: Some("0.1.0".to_owned()),
            description: Some("x".repeat(300)),
            authors: Some("Ann, Bob".to_owned()),
            licences: Some("Apache-2.0".to_owned()),
            source: None,
        }
    }

    #[test]
    fn what_is_written_is_read_and_written_again_is_the_same() {
        let once = told().write(EMPTY);
        assert_eq!(Provenance::read(&once), told());
        assert_eq!(told().write(&once), once);
        let other = Provenance { version: Some("0.2.0".to_owned()), ..Provenance::default() };
        let both = Provenance::read(&other.write(&once));
        assert_eq!(both, Provenance { version: other.version, ..told() });
        assert_eq!(Provenance::read(EMPTY), Provenance::default());
    }

    #[test]
    fn exports_change_their_names_and_nothing_else() {
        let export = |name: &[u8; 4]| [&[11, 10, 1, 0, 4][..], name, &[1, 0, 0]].concat();
        let component = [EMPTY, &export(b"init"), &export(b"wake")].concat();
        let exchanged = [EMPTY, &export(b"wake"), &export(b"init")].concat();
        assert_eq!(exchange_exports(&component, "init", "wake"), Some(exchanged));
        assert_eq!(exchange_exports(&component, "init", "wait"), None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(tail: Vec<u8>) {
            let bytes = [EMPTY, &tail].concat();
            let _ = (Provenance::read(&bytes), Provenance::read(&tail));
            let _ = (told().write(&bytes), told().write(&tail), exchange_exports(&bytes, "init", "wake"));
        }
    }
}
