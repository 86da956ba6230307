"""`python -m ringtime_local`: the same as `ringtime-dev`."""

from ringtime_local.cli import main

if __name__ == "__main__":
    main(prog_name="ringtime-dev")
