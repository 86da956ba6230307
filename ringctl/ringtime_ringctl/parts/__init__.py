"""Change into how many parts a minute's index is cut, while everything works.

`ringtime_shared.parts` has the rules and why no entry is ever out of sight. Here is who takes the steps:

    begin    the new count is read, too              (reading)
    write    after a wait: it is written             (writing)
    copy     after another: entries of the old count are filed under it, a page at a time, each page noted
             in the map                              (copying)
    end      when all are: the old count is read no more
    abort    before `write`: back. After it: the change is turned round, from the new count to the old one,
             and carried out as any other

Each is one conditional write on the map's version, with an entry in the audit log (pages have none). A wait
is `parts.CHANGE_WAIT_MS` on this process's own boot clock, from when it read the map as it is: a process that
resumes counts anew, and no clock of another machine takes part.

| what happens | what follows |
|---|---|
| killed, Ctrl-C, machine lost, at any point | all goes on with the map as it is; `--resume` or `--abort` |
| killed between a page and its note | that page is copied again, which files nothing twice |
| another operator begins | refused, with the name and time in the note |
| another operator resumes, or aborts | the first one finds another note, or none, and ends |
| the store is away | before the first change: nothing; later: tried again until the time is up |
| an answer is lost | the map is read: a version is one change, so it shows whether it was made |
| retention was lowered since, and nobody fires for longer than it | rows may outlive their entries |
"""
