//! What can be asked of the node by a line of text.

use std::str::FromStr;

use streamraft::NodeId;

use super::Failure;

pub(crate) const HELP: &str = "\
nodes ID..        these nodes shall vote, and no others; ID=HOST:PORT also says where one is
transfer ID       hand leadership over to this node (on the leader)
resign            hand leadership over to the best successor
priority NUMBER   the higher, the rather this node leads
state             show the state
stop              resign and end, as Ctrl-C does";

#[derive(Clone, Debug)]
pub(crate) enum Order {
    Nodes(Vec<NodeId>, Vec<Address>),
    Transfer(NodeId),
    Resign,
    Priority(u64),
    State,
    Stop,
    Help,
}

impl FromStr for Order {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["nodes", nodes @ ..] => parse_nodes(nodes),
            ["transfer", id] => Ok(Self::Transfer(id.parse()?)),
            ["resign"] => Ok(Self::Resign),
            ["priority", number] => {
                let number = number.parse();
                Ok(Self::Priority(
                    number.map_err(|error| format!("priority: {error}"))?,
                ))
            }
            ["state"] => Ok(Self::State),
            ["stop"] => Ok(Self::Stop),
            ["help"] => Ok(Self::Help),
            _ => Err(format!("{line:?} is no command. The commands are\n{HELP}").into()),
        }
    }
}

fn parse_nodes(words: &[&str]) -> Result<Order, Failure> {
    let mut nodes = Vec::new();
    let mut addresses = Vec::new();
    for word in words {
        if word.contains('=') {
            let address: Address = word.parse()?;
            nodes.push(address.id.clone());
            addresses.push(address);
        } else {
            nodes.push(word.parse()?);
        }
    }
    Ok(Order::Nodes(nodes, addresses))
}

/// `ID=HOST:PORT`: a node and where it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) id: NodeId,
    pub(crate) at: String,
}

impl FromStr for Address {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (id, at) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not of the form ID=HOST:PORT"))?;
        match at.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self {
                id: id.parse()?,
                at: at.to_owned(),
            }),
            _ => Err(format!("{at:?} is not of the form HOST:PORT").into()),
        }
    }
}
