from typing import NamedTuple

class Id(NamedTuple):
    scheme: str
    id: str

class ACL(NamedTuple):
    perms: int
    id: Id

def make_acl(scheme: str, credential: str, *, all: bool = ...) -> ACL: ...
