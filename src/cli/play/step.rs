//! `--step`: asks of each task whether it is to be done, before the run begins: hosts are visited once for all tasks of a play.

use std::io::{BufRead as _, Write as _};

use super::Book;
use crate::error::Error;

/// Asks on standard error, reads answers from standard input, and drops the tasks that are not to be done.
///
/// # Errors
/// When nobody answers: a task is never done because nobody said anything.
pub(super) fn ask(books: &mut [Book]) -> Result<(), Error> {
    let mut answers = std::io::stdin().lock().lines();
    let mut all_others = false;
    for play in books.iter_mut().flat_map(|(_, plays)| plays) {
        let mut kept = Vec::with_capacity(play.tasks.len());
        for task in play.tasks.drain(..) {
            if !all_others {
                eprint!(
                    "Perform task: {} ({}) (N)o/(y)es/(c)ontinue: ",
                    task.name, play.name
                );
                // A prompt that cannot be shown is answered all the same.
                drop(std::io::stderr().flush());
                let answer = answers
                    .next()
                    .transpose()
                    .map_err(|e| Error::failed("cannot read an answer").caused_by(e))?
                    .ok_or_else(|| Error::failed("--step asks of each task, and nobody answers"))?;
                match answer.trim().to_lowercase().as_str() {
                    "y" | "yes" => {}
                    "c" | "continue" => all_others = true,
                    _ => continue,
                }
            }
            kept.push(task);
        }
        play.tasks = kept;
    }
    Ok(())
}
