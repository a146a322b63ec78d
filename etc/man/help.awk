# help.awk - the text of `vishwamai SUBCOMMAND --help' as a part of a manual page.
#
# The help is a usage line, a sentence, groups of options under a title that ends in a colon, free
# text, and an example.  Option lines begin with two blanks and a dash, or are indented like one.

function roff(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    if (text ~ /^[.']/)
        text = "\\&" text
    return text
}

function plain() {
    if (verbatim)
        print ".RE\n.fi"
    verbatim = 0
}

/^usage: / {
    print ".SS " roff(name)
    print ".B " roff(substr($0, 8))
    next
}
/^$/ { plain(); print ".PP"; next }
/^example:$/ { print "Example:\n.PP\n.nf\n.RS"; verbatim = 1; next }
/^[^ ].*:$/ { print roff(toupper(substr($0, 1, 1)) substr($0, 2)); next }
!verbatim && /^  +-/ {
    text = substr($0, 3)
    sub(/^ +/, "", text)
    at = match(text, /  +/)
    print ".TP"
    if (at) {
        print ".B " roff(substr(text, 1, at - 1))
        print roff(substr(text, at + RLENGTH))
    } else
        print ".B " roff(text)
    next
}
!verbatim && /^ / { sub(/^ +/, ""); print roff($0); next }
verbatim { sub(/^  /, ""); print roff($0); next }
{ print roff($0) }
END { plain() }
