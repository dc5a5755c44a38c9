//! The model: what was written, in which generation it stands, and whether the
//! reader owes it.
//!
//! The unit is the *part*: one entry, a whole line or a piece of one. A part is
//! owed as long as its generation *is to be had*: it has a name in the folder, or
//! the reader has looked while it had one and runs since (then it must hold it).
//! What stops being to be had may be lost, and may be delivered as well.

use std::collections::HashSet;

/// One entry. Its text says its number, so that every text is known wherever it
/// comes up.
#[derive(Debug)]
struct Part {
    stream: usize,
    line: usize,
    text: String,
    is_owed: bool,
    is_delivered: bool,
}

#[derive(Debug, Default)]
struct Line {
    parts: Vec<usize>,
    /// Nothing is added any more.
    is_closed: bool,
    /// The part that says so; else it shows by what comes behind on the stream.
    end: Option<usize>,
    /// It may come in several records: its file was truncated under it, or was
    /// gone for a moment.
    may_be_cut: bool,
    /// The record that its first part came in.
    record: Option<usize>,
}

/// One content of a file, from its first byte until it is truncated.
#[derive(Debug, Default)]
pub struct Generation {
    parts: Vec<usize>,
    /// The reader has looked while it had a name, and runs since.
    pub is_held: bool,
    /// It was copied before it was truncated: the reader looks for it when it
    /// meets the truncation, and may not know it before.
    pub is_copy: bool,
}

impl Generation {
    /// How many parts it has.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }
}

/// All that was written by one container.
#[derive(Debug, Default)]
pub struct Truth {
    parts: Vec<Part>,
    lines: Vec<Line>,
    pub generations: Vec<Generation>,
    /// The last part delivered, per stream, since the last kill and ever.
    cursor: [Option<usize>; 2],
    furthest: [Option<usize>; 2],
    /// Parts of the batches that a kill caught between append and checkpoint, and
    /// those that nothing tells from unread ones after a kill.
    repeatable: HashSet<usize>,
    /// Parts delivered since the checkpoint was last on the disk.
    unsynced: Vec<usize>,
    records: usize,
    /// What is open may be delivered as if its container were gone.
    pub may_cut: bool,
    pub repeated: usize,
}

impl Truth {
    pub fn new_generation(&mut self) -> usize {
        self.generations.push(Generation::default());
        self.generations.len() - 1
    }

    pub fn new_line(&mut self) -> usize {
        self.lines.push(Line::default());
        self.lines.len() - 1
    }

    /// The line ends with this part, or without any.
    pub fn close(&mut self, line: usize, end: Option<usize>) {
        self.lines[line].is_closed = true;
        self.lines[line].end = end;
    }

    /// The container is gone: that ends all its lines.
    pub fn close_all(&mut self) {
        for line in &mut self.lines {
            line.is_closed = true;
            line.end = line.end.or(line.parts.last().copied());
        }
    }

    pub fn allow_cuts(&mut self) {
        self.lines
            .iter_mut()
            .for_each(|line| line.may_be_cut = true);
    }

    /// Another entry of a line; its number and its text, of so many bytes.
    pub fn new_part(
        &mut self,
        stream: usize,
        line: usize,
        generation: usize,
        bytes: usize,
    ) -> (usize, String) {
        let number = self.parts.len();
        let mut text = format!("#{number:07}:");
        text.push_str(&"x".repeat(bytes.saturating_sub(text.len())));
        let part = Part {
            stream,
            line,
            text: text.clone(),
            is_owed: true,
            is_delivered: false,
        };
        self.parts.push(part);
        self.lines[line].parts.push(number);
        self.generations[generation].parts.push(number);
        (number, text)
    }

    /// Nobody can ask for it any more.
    pub fn release(&mut self, part: usize) {
        self.parts[part].is_owed = false;
    }

    /// A generation is not to be had any more.
    pub fn release_generation(&mut self, generation: usize) {
        for part in &self.generations[generation].parts {
            self.parts[*part].is_owed = false;
        }
    }

    /// The parts of a generation from its `first` one on may be lost.
    pub fn release_from(&mut self, generation: usize, first: usize) {
        for part in &self.generations[generation].parts[first..] {
            self.parts[*part].is_owed = false;
        }
    }

    /// The process is gone: what it held without a name is gone with it.
    pub fn reader_ended(&mut self, was_killed: bool) {
        for generation in &mut self.generations {
            generation.is_held = false;
        }
        if was_killed {
            self.cursor = [None; 2];
        }
    }

    /// Takes a record; an error where it should not have come, or not now. Gives
    /// the parts in it.
    pub fn deliver(&mut self, stream: usize, text: &str) -> Result<Vec<usize>, String> {
        self.records += 1;
        let mut numbers = Vec::new();
        let Some(rest) = text.strip_prefix('#') else {
            return Err(format!("no text of ours: {}", short(text)));
        };
        for piece in rest.split('#') {
            let number = piece
                .get(..7)
                .and_then(|digits| digits.parse::<usize>().ok());
            let number = number.filter(|number| *number < self.parts.len());
            let Some(number) = number else {
                return Err(format!("no text of ours: {}", short(text)));
            };
            let part = &self.parts[number];
            if part.text[1..] != *piece || part.stream != stream {
                return Err(format!("part {number} came damaged: {}", short(text)));
            }
            self.deliver_part(number)?;
            numbers.push(number);
        }
        self.check_joined(&numbers)?;
        Ok(numbers)
    }

    fn deliver_part(&mut self, number: usize) -> Result<(), String> {
        let stream = self.parts[number].stream;
        if self.cursor[stream].is_some_and(|cursor| number <= cursor) {
            return Err(format!(
                "part {number} after part {:?}",
                self.cursor[stream]
            ));
        }
        if self.furthest[stream].is_some_and(|furthest| number <= furthest) {
            if !self.repeatable.remove(&number) {
                return Err(format!(
                    "part {number} again, or too late, after {:?}",
                    self.furthest[stream]
                ));
            }
            self.repeated += 1;
        } else {
            self.furthest[stream] = Some(number);
        }
        self.cursor[stream] = Some(number);
        self.parts[number].is_delivered = true;
        self.unsynced.push(number);
        Ok(())
    }

    /// Parts of one line belong into one record, and those of two into two.
    fn check_joined(&mut self, numbers: &[usize]) -> Result<(), String> {
        let line = self.parts[numbers[0]].line;
        let line_of = |number: usize| self.parts[number].line;
        let is_wrong = |pair: &[usize]| {
            line_of(pair[0]) != line_of(pair[1]) && !self.runs_on(line_of(pair[0]))
        };
        if numbers.windows(2).any(is_wrong) {
            return Err(format!("parts of several lines in one record: {numbers:?}"));
        }
        let parts = &self.parts;
        let line = &mut self.lines[line];
        let was_repeated = numbers[0] == line.parts[0];
        let all_owed = line.parts.iter().all(|part| parts[*part].is_owed);
        line.may_be_cut |= self.may_cut;
        if !was_repeated && line.record.is_some() && !line.may_be_cut && all_owed {
            return Err(format!(
                "line of parts {:?} came in several records, now {numbers:?}",
                line.parts
            ));
        }
        line.record = Some(self.records);
        Ok(())
    }

    /// Whether what follows a line looks like more of it: the piece that ends it is
    /// lost. A tag says that more follows, and nothing what; so does a full piece that has
    /// the time of what follows, nearly.
    fn runs_on(&self, line: usize) -> bool {
        let end = self.lines[line].end;
        end.is_some_and(|end| !self.parts[end].is_owed)
    }

    /// These may come again after a kill.
    pub fn allow_again(&mut self, numbers: impl IntoIterator<Item = usize>) {
        self.repeatable.extend(numbers);
    }

    /// The checkpoint is on the disk.
    pub fn synced(&mut self) {
        self.unsynced.clear();
    }

    /// The checkpoint is as it was on the disk: what was delivered since comes again.
    pub fn lost_power(&mut self) {
        self.repeatable.extend(&self.unsynced);
    }

    /// Where all is read: what is owed and has not come.
    pub fn missing(&self) -> Vec<usize> {
        let is_missing =
            |part: &Part| part.is_owed && !part.is_delivered && self.is_known_to_end(part);
        (0..self.parts.len())
            .filter(|number| is_missing(&self.parts[*number]))
            .collect()
    }

    /// Whether the reader can know that no more belongs to the line of a part.
    fn is_known_to_end(&self, part: &Part) -> bool {
        let line = &self.lines[part.line];
        let is_behind =
            |number: &usize| self.furthest[part.stream].is_some_and(|furthest| furthest > *number);
        line.is_closed
            && (line.end.is_some_and(|end| self.parts[end].is_owed)
                || line.parts.last().is_some_and(is_behind))
    }

    /// How many parts there are, and how many of them are owed.
    pub fn totals(&self) -> (usize, usize) {
        (
            self.parts.len(),
            self.parts.iter().filter(|part| part.is_owed).count(),
        )
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
