//! Cuts a kernel's BTF down to what the offset resolver looks at: a test fixture of some 30 KB.
//!
//! ```console
//! cargo run --example btf_fixture -- /sys/kernel/btf/vmlinux conn-trace/tests/fixtures/btf/6.18.btf
//! ```
//!
//! Kept are the structures of the field list with all of their members, the types of those members
//! as far as sizes and offsets depend on them, and the names by which the agent chooses its
//! programs. Every pointer becomes `void *`, and an embedded structure that no field lies in keeps
//! its size and loses its members. The result is valid BTF.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;

use conn_trace::kernel::btf::{Btf, Kind, Type};
use conn_trace::kernel::offsets::{FIELDS, Offsets};

/// The enumerations that keep their values.
const ENUMERATIONS: &[&str] = &["sock_flags"];
/// The functions that the agent looks at, or a test of it.
const FUNCTIONS: &[&str] = &[
    "mptcp_recvmsg",
    "mptcp_sendmsg",
    "tcp_recvmsg",
    "tcp_sendmsg",
    "tcp_sendpage",
    "tcp_splice_read",
];
/// Tracepoints of these families keep the typedef that tells of them.
const TRACEPOINTS: &[&str] = &["btf_trace_inet_", "btf_trace_sock_", "btf_trace_tcp_"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        eprintln!("usage: btf_fixture FULL_BTF OUTPUT");
        return ExitCode::FAILURE;
    };
    match reduce_file(input, output) {
        Ok(report) => {
            println!("{output}: {report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("btf_fixture: {error}");
            ExitCode::FAILURE
        }
    }
}

fn reduce_file(input: &str, output: &str) -> Result<String, Box<dyn std::error::Error>> {
    let full = std::fs::read(input)?;
    let btf = Btf::parse(&full)?;
    let reduced = reduce(&btf)?;
    let expected = Offsets::resolve(&btf)?;
    let found = Offsets::resolve(&Btf::parse(&reduced)?)?;
    if !expected.iter().eq(found.iter()) {
        return Err("the reduced BTF gives other offsets than the full one".into());
    }
    std::fs::write(output, &reduced)?;
    Ok(format!("{} bytes of {}", reduced.len(), full.len()))
}

fn reduce(btf: &Btf<'_>) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = Writer::new(btf);
    let structures: HashSet<&str> = FIELDS.iter().map(|field| field.structure).collect();
    let entered: HashSet<&str> = FIELDS
        .iter()
        .filter_map(|field| field.member.rsplit_once('.'))
        .flat_map(|(way, _)| way.split('.'))
        .collect();
    let types: Vec<Type<'_>> = (1..).map_while(|id| btf.type_by_id(id).ok()).collect();
    let name = |of: &Type<'_>| btf.name(of.name_offset).unwrap_or_default();
    let roots: Vec<&Type<'_>> = types
        .iter()
        .filter(|found| match found.kind {
            Kind::Struct => structures.contains(name(found)),
            Kind::Enum | Kind::Enum64 => ENUMERATIONS.contains(&name(found)),
            Kind::Func => FUNCTIONS.contains(&name(found)),
            Kind::Typedef => TRACEPOINTS
                .iter()
                .any(|family| name(found).starts_with(family)),
            _ => false,
        })
        .collect();
    for root in &roots {
        writer.keep_members(root, &entered)?;
    }
    for root in &roots {
        writer.copy(root.id)?;
    }
    Ok(writer.finish())
}

/// Writes the kept types under new ids. What a type refers to is written before it, which works
/// because a type contains itself only through pointers, and those are cut.
struct Writer<'b, 'a> {
    btf: &'b Btf<'a>,
    /// The composites that keep their members, and the enumerations that keep their values.
    whole: HashSet<u32>,
    new_ids: HashMap<u32, u32>,
    void_pointer: Option<u32>,
    written: u32,
    types: Vec<u8>,
    strings: Vec<u8>,
    string_offsets: HashMap<&'a str, u32>,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

impl<'b, 'a> Writer<'b, 'a> {
    fn new(btf: &'b Btf<'a>) -> Self {
        Self {
            btf,
            whole: HashSet::new(),
            new_ids: HashMap::new(),
            void_pointer: None,
            written: 0,
            types: Vec::new(),
            strings: vec![0],
            string_offsets: HashMap::from([("", 0)]),
        }
    }

    /// Marks `root`, its anonymous members, and the members that a field's path enters.
    fn keep_members(&mut self, root: &Type<'a>, entered: &HashSet<&str>) -> Outcome<()> {
        if !self.whole.insert(root.id) {
            return Ok(());
        }
        for member in root.members() {
            let name = self.btf.name(member.name_offset).unwrap_or_default();
            let mut inner = member.type_id;
            while inner != 0 && (name.is_empty() || entered.contains(name)) {
                let found = self.btf.type_by_id(inner)?;
                match found.kind {
                    Kind::Struct | Kind::Union => {
                        self.keep_members(&found, entered)?;
                        break;
                    }
                    Kind::Typedef | Kind::Const | Kind::Volatile | Kind::TypeTag => {
                        inner = found.size_or_type;
                    }
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Writes the type and what it needs; gives its new id.
    fn copy(&mut self, id: u32) -> Outcome<u32> {
        if id == 0 {
            return Ok(0);
        }
        if let Some(new_id) = self.new_ids.get(&id) {
            return Ok(*new_id);
        }
        let old = self.btf.type_by_id(id)?;
        let new_id = if old.kind == Kind::Ptr {
            self.void_pointer()
        } else {
            let (referred, payload) = self.contents(&old)?;
            let name = self.string(old.name_offset);
            let entries = if payload.is_empty() && old.kind != Kind::Func {
                0
            } else {
                old.entries
            };
            let info = u32::from(old.kind_flag) << 31 | (old.kind as u32) << 24 | entries;
            self.write(&[name, info, referred], &payload)
        };
        self.new_ids.insert(id, new_id);
        Ok(new_id)
    }

    /// The type's size or the new id of what it refers to, and its payload with new ids.
    fn contents(&mut self, old: &Type<'a>) -> Outcome<(u32, Vec<u32>)> {
        let words: Vec<u32> = old.payload().collect();
        Ok(match old.kind {
            Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64
                if !self.whole.contains(&old.id) =>
            {
                (old.size_or_type, Vec::new())
            }
            Kind::Struct | Kind::Union => {
                let mut members = Vec::with_capacity(words.len());
                for member in words.chunks_exact(3) {
                    members.extend([self.string(member[0]), self.copy(member[1])?, member[2]]);
                }
                (old.size_or_type, members)
            }
            Kind::Enum | Kind::Enum64 => {
                let width = if old.kind == Kind::Enum { 2 } else { 3 };
                let mut values = words;
                for value in values.chunks_exact_mut(width) {
                    value[0] = self.string(value[0]);
                }
                (old.size_or_type, values)
            }
            Kind::Array => (
                0,
                vec![self.copy(words[0])?, self.copy(words[1])?, words[2]],
            ),
            Kind::FuncProto => {
                let mut parameters = Vec::with_capacity(words.len());
                for parameter in words.chunks_exact(2) {
                    parameters.extend([self.string(parameter[0]), self.copy(parameter[1])?]);
                }
                (self.copy(old.size_or_type)?, parameters)
            }
            Kind::Int | Kind::Float => (old.size_or_type, words),
            Kind::Fwd => (0, words),
            Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Func
            | Kind::TypeTag => (self.copy(old.size_or_type)?, words),
            Kind::Ptr | Kind::Var | Kind::Datasec | Kind::DeclTag => {
                return Err(format!("type {} is a {} inside a structure", old.id, old.kind).into());
            }
        })
    }

    fn void_pointer(&mut self) -> u32 {
        if let Some(id) = self.void_pointer {
            return id;
        }
        let id = self.write(&[0, (Kind::Ptr as u32) << 24, 0], &[]);
        self.void_pointer = Some(id);
        id
    }

    fn string(&mut self, offset: u32) -> u32 {
        let name = self.btf.name(offset).unwrap_or_default();
        if let Some(known) = self.string_offsets.get(name) {
            return *known;
        }
        let new_offset = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        self.string_offsets.insert(name, new_offset);
        new_offset
    }

    fn write(&mut self, head: &[u32; 3], payload: &[u32]) -> u32 {
        self.types.extend(
            head.iter()
                .chain(payload)
                .flat_map(|word| word.to_le_bytes()),
        );
        self.written += 1;
        self.written
    }

    fn finish(self) -> Vec<u8> {
        const HEADER_BYTES: u32 = 24;
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut data = vec![0x9f, 0xeb, 1, 0];
        data.extend(
            [HEADER_BYTES, 0, types, types, strings]
                .iter()
                .flat_map(|word| word.to_le_bytes()),
        );
        data.extend(self.types);
        data.extend(self.strings);
        data
    }
}
