# fish completion for gossipctl: gossipctl completion fish gossipctl

# is $argv[1] the command, and the number of arguments so far one of the others, if there are any?
function __gossipctl_at
    set -l command
    set -l count 0
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
            continue
        end
        switch $word
            case --bytes --count --level --name --node --output --relay-factor --rpc-addr --rpc-auth --rpc-socket --status --tag --timeout --type --wait -o
                set skip yes
            case '-*'
            case '*'
                if set -q command[1]
                    set count (math $count + 1)
                else
                    set command $word
                end
        end
    end
    test "$command" = "$argv[1]" || return
    not set -q argv[2] || contains $count $argv[2..-1]
end

function __gossipctl_members
    set -l words (commandline -opc)
    set -l where
    for i in (seq 2 (count $words))
        switch $words[$i]
            case --rpc-socket --rpc-addr --rpc-auth
                set -a where $words[$i] (string replace -r '^~/' $HOME/ -- $words[(math $i + 1)])
            case '--rpc-socket=*' '--rpc-addr=*' '--rpc-auth=*'
                set -a where $words[$i]
        end
    end
    gossipctl $where completion members 2>/dev/null
end

complete -c gossipctl -f
complete -c gossipctl -l rpc-socket -r -F -d 'unix socket of the daemon'
complete -c gossipctl -l rpc-addr -x -d 'TCP address of the daemon, or of a Serf agent (port 7373 by default)'
complete -c gossipctl -l rpc-auth -x -d 'key that the daemon asks for'
complete -c gossipctl -n 'not __gossipctl_at query' -l timeout -x -d 'how long to wait for an answer; 10 by default, 60 for what changes the cluster'
complete -c gossipctl -s h -l help -d 'show help and exit'
complete -c gossipctl -l version -d 'show the version and exit'
complete -c gossipctl -n '__gossipctl_at ""' -a members -d 'list the members of the cluster'
complete -c gossipctl -n '__gossipctl_at members' -l status -x -a 'alive suspect leaving left failed' -d 'only members with this status: alive, suspect, leaving, left, failed'
complete -c gossipctl -n '__gossipctl_at members' -l name -x -d 'only members with this name'
complete -c gossipctl -n '__gossipctl_at members' -l tag -x -d 'only members whose tag has this value; may be repeated'
complete -c gossipctl -n '__gossipctl_at members' -s o -l output -x -a 'table wide name json jsonl' -d 'one of table, wide, name, json, jsonl; table by default'
complete -c gossipctl -n '__gossipctl_at ""' -a join -d 'make the daemon join a cluster'
complete -c gossipctl -n '__gossipctl_at join' -l replay -d 'also deliver user events from before the join'
complete -c gossipctl -n '__gossipctl_at join' -s o -l output -x -a 'text json' -d 'one of text, json; text by default'
complete -c gossipctl -n '__gossipctl_at ""' -a leave -d 'make the daemon leave the cluster and end'
complete -c gossipctl -n '__gossipctl_at leave' -s o -l output -x -a 'text json' -d 'one of text, json; text by default'
complete -c gossipctl -n '__gossipctl_at ""' -a force-leave -d 'declare a failed member left'
complete -c gossipctl -n '__gossipctl_at force-leave' -l prune -d 'also make the cluster forget it'
complete -c gossipctl -n '__gossipctl_at force-leave' -s o -l output -x -a 'text json' -d 'one of text, json; text by default'
complete -c gossipctl -n '__gossipctl_at force-leave 0' -a '(__gossipctl_members)'
complete -c gossipctl -n '__gossipctl_at ""' -a discover -d 'show who is heard of on the local network'
complete -c gossipctl -n '__gossipctl_at discover' -l wait -x -d 'how long to wait for answers to a new question; 1 by default, 0: do not ask'
complete -c gossipctl -n '__gossipctl_at discover' -s o -l output -x -a 'table json' -d 'one of table, json; table by default'
complete -c gossipctl -n '__gossipctl_at ""' -a info -d 'show the state of the daemon'
complete -c gossipctl -n '__gossipctl_at info' -s o -l output -x -a 'table json' -d 'one of table, json; table by default'
complete -c gossipctl -n '__gossipctl_at ""' -a event -d 'send an event to all members'
complete -c gossipctl -n '__gossipctl_at event' -l coalesce -d 'who listens may get only the last of several with this name; the default'
complete -c gossipctl -n '__gossipctl_at event' -l no-coalesce -d 'who listens gets every one, at once'
complete -c gossipctl -n '__gossipctl_at event' -s o -l output -x -a 'text json' -d 'one of text, json; text by default'
complete -c gossipctl -n '__gossipctl_at ""' -a query -d 'ask members and show their answers'
complete -c gossipctl -n '__gossipctl_at query' -l node -x -a '(__gossipctl_members)' -d 'ask this member only; may be repeated'
complete -c gossipctl -n '__gossipctl_at query' -l tag -x -d 'ask those whose tag contains a match; may be repeated: all must match'
complete -c gossipctl -n '__gossipctl_at query' -l timeout -x -d 'when it is over at the latest; by default longer for larger clusters'
complete -c gossipctl -n '__gossipctl_at query' -l no-ack -d 'do not ask members to say that they got it'
complete -c gossipctl -n '__gossipctl_at query' -l relay-factor -x -d 'have answers come by way of N other members too'
complete -c gossipctl -n '__gossipctl_at query' -s o -l output -x -a 'text json jsonl' -d 'one of text, json, jsonl; text by default'
complete -c gossipctl -n '__gossipctl_at ""' -a respond -d 'answer a query'
complete -c gossipctl -n '__gossipctl_at respond' -s o -l output -x -a 'text json' -d 'one of text, json; text by default'
complete -c gossipctl -n '__gossipctl_at ""' -a reachability -d 'ask all members to say that they are there'
complete -c gossipctl -n '__gossipctl_at reachability' -s o -l output -x -a 'table json' -d 'one of table, json; table by default'
complete -c gossipctl -n '__gossipctl_at ""' -a rtt -d 'estimate the round trip between two members'
complete -c gossipctl -n '__gossipctl_at rtt' -s o -l output -x -a 'text json' -d 'one of text, json; text by default'
complete -c gossipctl -n '__gossipctl_at rtt 0' -a '(__gossipctl_members)'
complete -c gossipctl -n '__gossipctl_at rtt 1' -a '(__gossipctl_members)'
complete -c gossipctl -n '__gossipctl_at ""' -a keys -d 'list or change the encryption keys of all members'
complete -c gossipctl -n '__gossipctl_at keys' -s o -l output -x -a 'table json' -d 'one of table, json; table by default'
complete -c gossipctl -n '__gossipctl_at keys 0' -a 'list install use remove'
complete -c gossipctl -n '__gossipctl_at ""' -a keygen -d 'make an encryption key'
complete -c gossipctl -n '__gossipctl_at keygen' -l bytes -x -a '16 24 32' -d 'length of the key: 16, 24 or 32; 32 by default'
complete -c gossipctl -n '__gossipctl_at ""' -a monitor -d 'follow the daemon\'s log'
complete -c gossipctl -n '__gossipctl_at monitor' -l level -x -a 'debug info warning error' -d 'from this level on: debug, info, warning, error; info by default, whatever the daemon itself writes'
complete -c gossipctl -n '__gossipctl_at ""' -a events -d 'follow what happens in the cluster'
complete -c gossipctl -n '__gossipctl_at events' -l type -x -a 'member-join member-leave member-failed member-update member-reap user query' -d 'only this: member-join, member-leave, member-failed, member-update, member-reap, user, user:NAME, query, query:NAME; may be repeated'
complete -c gossipctl -n '__gossipctl_at events' -l count -x -d 'end after N events'
complete -c gossipctl -n '__gossipctl_at events' -l json -d 'the same as -o jsonl'
complete -c gossipctl -n '__gossipctl_at events' -s o -l output -x -a 'text jsonl' -d 'one of text, jsonl; text by default'
complete -c gossipctl -n '__gossipctl_at ""' -a completion -d 'write a script by which a shell completes command lines'
complete -c gossipctl -n '__gossipctl_at completion 0' -a 'bash zsh fish'
complete -c gossipctl -n '__gossipctl_at completion 1' -a 'gossipctl gossipd'
complete -c gossipctl -n '__gossipctl_at ""' -a migrate -d 'make settings of gossipd from a file of Serf\'s'
complete -c gossipctl -n '__gossipctl_at migrate 0' -F
complete -c gossipctl -n '__gossipctl_at migrate 1' -F
complete -c gossipctl -n '__gossipctl_at ""' -a tags -d 'show or change the daemon\'s own tags'
complete -c gossipctl -n '__gossipctl_at tags' -s o -l output -x -a 'table json' -d 'one of table, json; table by default'
complete -c gossipctl -n '__gossipctl_at tags 0' -a 'list set unset'
