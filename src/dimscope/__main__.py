"""``python -m dimscope``: the command line."""

from dimscope.cli import main

if __name__ == "__main__":
    main()
