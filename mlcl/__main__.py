from mlcl.cli import main

main()
