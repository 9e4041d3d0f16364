"""Identity of code: what a function reaches by name at the moment of a call.

One mechanism serves stores, checkpoints and compiled programs: `code_of`, `describe` and
`fingerprint` name a result, `sees_edits` forgets compiled programs whose code was changed in the
same session.
"""

from learning_dynamics.identity.bytecode import digest
from learning_dynamics.identity.key import Code, code_of, describe, fingerprint, vouched
from learning_dynamics.identity.origin import qualified_name

__all__ = ["Code", "code_of", "describe", "digest", "fingerprint", "qualified_name", "vouched"]
