//! Where a key or a value was given: a line and column of the file, or an option of the command line.

/// The texts that an experiment is put together from, laid end to end, so that one offset tells text, line and column.
pub(super) struct Sources<'a> {
    files: Vec<File<'a>>,
    options: Vec<Argument>,
}

/// A file's name and text, and the offset at which it begins.
struct File<'a> {
    start: usize,
    name: &'a str,
    text: &'a str,
}

/// An option of the command line and the offset at which it begins.
struct Argument {
    start: usize,
    spelling: String,
}

impl<'a> Sources<'a> {
    /// Each file's name, as messages call it, and its text; there is at least one.
    pub(super) fn new(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut start = 0;
        let laid = files.into_iter().map(|(name, text)| {
            let file = File { start, name, text };
            // One more than the length: an error at the end of a text still belongs to it.
            start += text.len() + 1;
            file
        });
        Self { files: laid.collect(), options: Vec::new() }
    }

    /// The offset at which a file begins.
    pub(super) fn start(&self, file: usize) -> usize {
        self.files[file].start
    }

    /// Puts an option behind everything before it; returns the offset at which it begins.
    pub(super) fn add(&mut self, spelling: String) -> usize {
        let end = self.files.last().map_or(0, |last| last.start + last.text.len() + 1);
        let start = self.options.last().map_or(end, |last| last.start + last.spelling.len() + 1);
        self.options.push(Argument { start, spelling });
        start
    }

    /// The name in messages of the file that all is put together for, the last.
    pub(super) fn name(&self) -> &str {
        self.files.last().map_or("", |last| last.name)
    }

    /// `FILE:LINE:COLUMN`, both from 1 and the column in characters, or the option as it was written.
    pub(super) fn place(&self, offset: usize) -> String {
        if let Some(option) = self.options.iter().rfind(|option| option.start <= offset) {
            return option.spelling.clone();
        }
        let Some(file) = self.files.iter().rfind(|file| file.start <= offset) else { return self.name().to_owned() };
        let before = &file.text[..file.text.floor_char_boundary(offset - file.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        format!("{}:{line}:{}", file.name, before[line_start..].chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_tells_line_and_column_or_the_option() {
        let mut sources = Sources::new([("a.toml", "é = 1\nb = 2\n"), ("b.toml", "c = 3")]);
        let first = sources.add("--set a=1".into());
        let second = sources.add("--grid b=1,2".into());
        assert_eq!(sources.place(0), "a.toml:1:1");
        assert_eq!(sources.place(3), "a.toml:1:3", "columns count characters, not bytes");
        assert_eq!(sources.place(7), "a.toml:2:1");
        assert_eq!(sources.place(13), "a.toml:3:1", "the end of the file");
        assert_eq!(sources.place(sources.start(1) + 4), "b.toml:1:5");
        assert_eq!(sources.place(first), "--set a=1");
        assert_eq!(sources.place(second - 1), "--set a=1");
        assert_eq!(sources.place(second), "--grid b=1,2");
    }
}
