//! Before any event: a component with what its memory begins with as one piece, so that the rest can be told apart from it.
//!
//! Functions in one language differ in little else: the engine's code is the same in all of them. Pure.

use std::ops::Range;

use wasm_encoder::{Encode, SectionId};
use wasmparser::{BinaryReader, DataKind, DataSectionReader, Operator};

/// The piece begins and ends at multiples of this, and with something else than zeros: so the engine keeps it whole when it
/// makes of it what is mapped into every instance. Functions in one language that leave memory of the same size have pieces of
/// the same size, since allocators write to both ends of it.
const GRAIN: usize = 4 << 10;

/// The longest piece: what loading a file may leave, and as much again for the engine.
const LONGEST: usize = 64 << 20;

/// Bytes before the first section.
const HEADER: usize = 8;

/// A section of a component that is not for whoever runs it, and the one that has a core module.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;

/// A component, rearranged. It means the same.
#[derive(Debug)]
pub(super) struct Shaped {
    /// Its bytes, without what it says to others than the engine.
    pub bytes: Vec<u8>,
    /// Where the piece is among them.
    pub piece: Range<usize>,
}

/// The component in this shape; none if not exactly one of its core modules has data, or that is not for fixed places.
pub(super) fn shaped(component: &[u8]) -> Option<Shaped> {
    let mut bytes = component.get(..HEADER)?.to_vec();
    let mut piece = None;
    for (id, range) in sections(component)? {
        let data = (id == CORE_MODULE).then(|| module(&component[range.clone()]));
        match data {
            _ if id == CUSTOM => {}
            None | Some(Module::WithoutData) => section(&mut bytes, id, &component[range]),
            Some(Module::Other) => return None,
            Some(Module::Shaped(module, data)) => {
                bytes.push(id);
                module.len().encode(&mut bytes);
                let at = bytes.len();
                if piece.replace(at + data.start..at + data.end).is_some() {
                    return None;
                }
                bytes.extend(module);
            }
        }
    }
    Some(Shaped { bytes, piece: piece? })
}

/// A core module.
enum Module {
    /// With one piece of data, and where that is in it.
    Shaped(Vec<u8>, Range<usize>),
    WithoutData,
    /// It cannot be brought into this shape.
    Other,
}

fn module(module: &[u8]) -> Module {
    let Some(sections) = sections(module) else { return Module::Other };
    let has = |wanted: SectionId| sections.iter().any(|(id, _)| *id == u8::from(wanted));
    if !has(SectionId::Data) {
        return Module::WithoutData;
    }
    // It says how many pieces there are, where code names them.
    if has(SectionId::DataCount) {
        return Module::Other;
    }
    with_one_piece(module, sections).map_or(Module::Other, |(bytes, piece)| Module::Shaped(bytes, piece))
}

fn with_one_piece(module: &[u8], sections: Vec<(u8, Range<usize>)>) -> Option<(Vec<u8>, Range<usize>)> {
    let mut bytes = module.get(..HEADER)?.to_vec();
    let mut piece = None;
    for (id, range) in sections {
        if id != u8::from(SectionId::Data) {
            section(&mut bytes, id, &module[range]);
            continue;
        }
        let (from, memory) = memory(&module[range])?;
        // One piece, for memory 0, at a constant.
        let mut head = vec![1, 0];
        wasm_encoder::ConstExpr::i32_const(i32::try_from(from).ok()?).encode(&mut head);
        memory.len().encode(&mut head);
        bytes.push(id);
        (head.len() + memory.len()).encode(&mut bytes);
        bytes.extend(head);
        piece = Some(bytes.len()..bytes.len() + memory.len());
        bytes.extend(memory);
    }
    Some((bytes, piece?))
}

/// What a data section puts where, in one piece with zeros between.
fn memory(data: &[u8]) -> Option<(usize, Vec<u8>)> {
    let mut all = Vec::new();
    for data in DataSectionReader::new(BinaryReader::new(data, 0)).ok()? {
        let data = data.ok()?;
        match data.kind {
            DataKind::Active { memory_index: 0, offset_expr } => {
                let mut operators = offset_expr.get_operators_reader();
                let Operator::I32Const { value } = operators.read().ok()? else { return None };
                let Operator::End = operators.read().ok()? else { return None };
                all.push((usize::try_from(value).ok()?, data.data));
            }
            DataKind::Active { .. } => return None,
            // No code can name it without saying how many there are.
            DataKind::Passive => {}
        }
    }
    let from = all.iter().map(|(at, _)| *at).min()? / GRAIN * GRAIN;
    let to = all.iter().map(|(at, data)| at + data.len()).max()?.next_multiple_of(GRAIN);
    if to - from > LONGEST {
        return None;
    }
    let mut memory = vec![0; to - from];
    for (at, data) in all {
        memory[at - from..][..data.len()].copy_from_slice(data);
    }
    let end = memory.iter().rposition(|byte| *byte != 0)? + 1;
    memory.truncate(end.next_multiple_of(GRAIN));
    let begin = memory.iter().position(|byte| *byte != 0)? / GRAIN * GRAIN;
    memory.drain(..begin);
    Some((from + begin, memory))
}

/// The sections behind the header: the number of each, and where its contents are.
fn sections(bytes: &[u8]) -> Option<Vec<(u8, Range<usize>)>> {
    let mut reader = BinaryReader::new(bytes.get(HEADER..)?, 0);
    let mut all = Vec::new();
    while !reader.eof() {
        let (id, length) = (reader.read_u8().ok()?, reader.read_var_u32().ok()? as usize);
        let from = HEADER + reader.original_position();
        reader.read_bytes(length).ok()?;
        all.push((id, from..from + length));
    }
    Some(all)
}

fn section(bytes: &mut Vec<u8>, id: u8, contents: &[u8]) {
    bytes.push(id);
    contents.encode(bytes);
}
